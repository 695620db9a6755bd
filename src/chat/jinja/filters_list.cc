// Filters over sequences and mappings. Where the reference gives generators these give lists.
#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "base/format.h"
#include "chat/jinja/builtins.h"
#include "chat/jinja/text.h"

namespace hearth::chat::jinja {
namespace {

// "a.b.0" as steps into a value; a number is one step.
Value value_at(Interp& interp, const Value& of, const Value& path) {
    if (path.is_whole()) return interp.subscript(of, path);
    std::string_view rest = path.is_string() ? std::string_view(path.text()) : "";
    Value v = of;
    for (;;) {
        const std::size_t dot = rest.find('.');
        const std::string_view name = rest.substr(0, dot);
        std::int64_t i = 0;
        const auto [end, ec] = std::from_chars(name.data(), name.data() + name.size(), i);
        const bool number = ec == std::errc() && end == name.data() + name.size() && !name.empty();
        v = number ? interp.subscript(v, Value(i)) : interp.subscript(v, Value(name));
        if (dot == rest.npos) return v;
        rest.remove_prefix(dot + 1);
    }
}

Value folded(const Value& v, bool case_sensitive) {
    return v.is_string() && !case_sensitive ? Value(lower(v.text())) : v;
}

Value f_list(Interp& interp, const Value& v, Args&) {
    return interp.list(interp.iterate(v));
}

Value f_join(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("join", args, {"d", "attribute"});
    const std::string between = reader.find(0) ? soft_text(*reader.find(0), interp) : "";
    TextBuilder out(interp);
    bool first = true;
    for (const Value& item : interp.iterate(v)) {
        if (!first) out.add(between);
        first = false;
        out.add(soft_text(reader.find(1) ? value_at(interp, item, *reader.find(1)) : item, interp));
    }
    return out.value();
}

Value f_first(Interp& interp, const Value& v, Args&) {
    if (v.is_list() && !v.items().empty()) return v.items().front();
    const auto items = interp.iterate(v);
    return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Value f_last(Interp& interp, const Value& v, Args&) {
    if (v.is_list() && !v.items().empty()) return v.items().back();
    const auto items = interp.iterate(v);
    return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value f_reverse(Interp& interp, const Value& v, Args&) {
    std::vector<Value> items = interp.iterate(v);
    std::reverse(items.begin(), items.end());
    if (!v.is_string()) return interp.list(std::move(items));
    TextBuilder out(interp);
    for (const Value& c : items) out.add(c.text());
    return out.value();
}

// map, select and their kin take everything false for an empty sequence.
std::vector<Value> iterate_if_true(Interp& interp, const Value& v) {
    return v.truth() ? interp.iterate(v) : std::vector<Value>();
}

// The arguments behind the first n, for the filter or test that the first one names.
Args without_first(const Args& args, std::size_t n) {
    Args out{{}, args.named};
    if (args.positional.size() > n)
        out.positional.assign(args.positional.begin() + std::ptrdiff_t(n), args.positional.end());
    return out;
}

Value f_map(Interp& interp, const Value& v, Args& args) {
    std::vector<Value> out;
    if (args.positional.empty()) {
        ArgReader reader("map", args, {"attribute", "default"});
        for (const Value& item : iterate_if_true(interp, v)) {
            Value mapped = value_at(interp, item, reader.need(0));
            if (mapped.is_undefined() && reader.find(1)) mapped = *reader.find(1);
            out.push_back(std::move(mapped));
        }
        return interp.list(std::move(out));
    }
    const std::string name = soft_text(args.positional[0], interp);
    const Args rest = without_first(args, 1);
    for (const Value& item : iterate_if_true(interp, v))
        out.push_back(interp.filter(name, item, rest));
    return interp.list(std::move(out));
}

template <bool kWanted, bool kByAttribute>
Value f_select(Interp& interp, const Value& v, Args& args) {
    std::vector<Value> out;
    const std::size_t n_own = kByAttribute ? 1 : 0;
    if (args.positional.size() < n_own) stop("selectattr needs the name of an attribute");
    const bool has_test = args.positional.size() > n_own;
    const std::string name = has_test ? soft_text(args.positional[n_own], interp) : "";
    const Args rest = without_first(args, n_own + 1);
    for (Value& item : iterate_if_true(interp, v)) {
        const Value looked = kByAttribute ? value_at(interp, item, args.positional[0]) : item;
        const bool holds = has_test ? interp.test(name, looked, rest) : looked.truth();
        if (holds == kWanted) out.push_back(std::move(item));
    }
    return interp.list(std::move(out));
}

struct Keyed {
    std::vector<Value> keys;
    Value value;
};

void sort_keyed(Interp& interp, std::vector<Keyed>& all, bool reverse) {
    // Reversing the order of comparison, not the result, keeps equal items in their order.
    std::stable_sort(all.begin(), all.end(), [&](const Keyed& a, const Keyed& b) {
        const Keyed& x = reverse ? b : a;
        const Keyed& y = reverse ? a : b;
        for (std::size_t i = 0; i < x.keys.size(); ++i) {
            const int order = compare(x.keys[i], y.keys[i], "<", interp.meter());
            if (order != 0) return order < 0;
        }
        return false;
    });
}

Value f_sort(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("sort", args, {"reverse", "case_sensitive", "attribute"});
    const bool case_sensitive = reader.truth(1, false);
    std::vector<Value> paths;
    if (const Value* attribute = reader.find(2); attribute && attribute->is_string()) {
        std::string_view rest = attribute->text();  // several, separated by commas
        for (;;) {
            const std::size_t comma = rest.find(',');
            paths.push_back(Value(rest.substr(0, comma)));
            if (comma == rest.npos) break;
            rest.remove_prefix(comma + 1);
        }
    } else if (attribute && !attribute->is_none()) {
        paths.push_back(*attribute);
    }
    std::vector<Keyed> all;
    for (const Value& item : interp.iterate(v)) {
        Keyed one{{}, item};
        for (const Value& path : paths)
            one.keys.push_back(folded(value_at(interp, item, path), case_sensitive));
        if (paths.empty()) one.keys.push_back(folded(item, case_sensitive));
        all.push_back(std::move(one));
    }
    sort_keyed(interp, all, reader.truth(0, false));
    std::vector<Value> out;
    for (Keyed& one : all) out.push_back(std::move(one.value));
    return interp.list(std::move(out));
}

Value f_dictsort(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("dictsort", args, {"case_sensitive", "by", "reverse"});
    const std::string_view by = reader.text(1, "key");
    if (by != "key" && by != "value") stop("dictsort: 'by' must be key or value");
    if (v.is_undefined()) stop(v.why_undefined());
    if (!v.is_dict()) stop(format("'{} object' has no attribute 'items'", v.type_name()));
    std::vector<Keyed> all;
    for (const auto& [key, value] : v.entries())
        all.push_back({{folded(by == "key" ? key : value, reader.truth(0, false))},
                       Value::list({key, value}, true)});
    interp.meter().bytes(all.size() * 4 * sizeof(Value));
    sort_keyed(interp, all, reader.truth(2, false));
    std::vector<Value> out;
    for (Keyed& one : all) out.push_back(std::move(one.value));
    return interp.list(std::move(out));
}

Value f_unique(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("unique", args, {"case_sensitive", "attribute"});
    std::vector<Value> out;
    std::unordered_map<std::string, bool> seen;
    for (Value& item : interp.iterate(v)) {
        const Value key = folded(reader.find(1) ? value_at(interp, item, *reader.find(1)) : item,
                                 reader.truth(0, false));
        if (seen.emplace(key_text(key), true).second) out.push_back(std::move(item));
    }
    return interp.list(std::move(out));
}

template <int kSign>  // -1: min, 1: max
Value f_extreme(Interp& interp, const Value& v, Args& args) {
    ArgReader reader(kSign < 0 ? "min" : "max", args, {"case_sensitive", "attribute"});
    std::optional<Keyed> best;
    for (const Value& item : interp.iterate(v)) {
        Keyed one{{folded(reader.find(1) ? value_at(interp, item, *reader.find(1)) : item,
                          reader.truth(0, false))},
                  item};
        if (!best || compare(one.keys[0], best->keys[0], "<", interp.meter()) * kSign > 0)
            best = std::move(one);
    }
    return best ? best->value : Value::undefined("No aggregated item, sequence was empty.");
}

Value f_sum(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("sum", args, {"attribute", "start"});
    Value total = reader.find(1) ? *reader.find(1) : Value(std::int64_t(0));
    const Value* path = reader.find(0);
    for (const Value& item : interp.iterate(v))
        total = binary(Op::add, total,
                       path && !path->is_none() ? value_at(interp, item, *path) : item, interp);
    return total;
}

Value f_batch(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("batch", args, {"linecount", "fill_with"});
    const std::int64_t n = reader.whole(0, 0);
    if (n < 1) stop("batch: linecount must be at least 1");
    std::vector<Value> out, row;
    for (Value& item : interp.iterate(v)) {
        row.push_back(std::move(item));
        if (std::int64_t(row.size()) == n) out.push_back(interp.list(std::exchange(row, {})));
    }
    if (!row.empty()) {
        const Value* fill = reader.find(1);
        if (fill && !fill->is_none()) {
            interp.meter().bytes(std::size_t(n) * sizeof(Value));
            row.resize(std::size_t(n), *fill);
        }
        out.push_back(interp.list(std::move(row)));
    }
    return interp.list(std::move(out));
}

Value f_slice(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("slice", args, {"slices", "fill_with"});
    const std::int64_t n = reader.whole(0, 0);
    if (n < 1 || n > 100'000) stop("slice: slices must be from 1 to 100000");
    const auto items = interp.iterate(v);
    const std::int64_t each = std::int64_t(items.size()) / n;
    const std::int64_t longer = std::int64_t(items.size()) % n;
    std::vector<Value> out;
    auto at = items.begin();
    for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t size = each + (i < longer ? 1 : 0);
        std::vector<Value> part(at, at + size);
        at += size;
        const Value* fill = reader.find(1);
        if (fill && !fill->is_none() && i >= longer) part.push_back(*fill);
        out.push_back(interp.list(std::move(part)));
    }
    return interp.list(std::move(out));
}

Value f_groupby(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("groupby", args, {"attribute", "default", "case_sensitive"});
    std::vector<Keyed> all;
    for (const Value& item : interp.iterate(v)) {
        Value key = value_at(interp, item, reader.need(0));
        if (key.is_undefined() && reader.find(1)) key = *reader.find(1);
        all.push_back({{folded(key, reader.truth(2, false)), key}, item});
    }
    // By the folded key alone: the second one is only remembered.
    std::stable_sort(all.begin(), all.end(), [&](const Keyed& a, const Keyed& b) {
        return compare(a.keys[0], b.keys[0], "<", interp.meter()) < 0;
    });
    std::vector<Value> out;
    for (std::size_t i = 0; i < all.size();) {
        std::vector<Value> group;
        std::size_t end = i;
        for (; end < all.size() && equals(all[i].keys[0], all[end].keys[0], interp.meter()); ++end)
            group.push_back(all[end].value);
        if (end == i) ++end;  // a key that does not equal itself
        out.push_back(Value::list({all[i].keys[1], interp.list(std::move(group))}, true));
        i = end;
    }
    return interp.list(std::move(out));
}

constexpr Named<Builtin> kFilters[] = {
    {"list", f_list},
    {"join", f_join},
    {"first", f_first},
    {"last", f_last},
    {"map", f_map},
    {"select", f_select<true, false>},
    {"reject", f_select<false, false>},
    {"selectattr", f_select<true, true>},
    {"rejectattr", f_select<false, true>},
    {"sort", f_sort},
    {"dictsort", f_dictsort},
    {"reverse", f_reverse},
    {"unique", f_unique},
    {"min", f_extreme<-1>},
    {"max", f_extreme<1>},
    {"sum", f_sum},
    {"batch", f_batch},
    {"slice", f_slice},
    {"groupby", f_groupby},
};

}  // namespace

std::span<const Named<Builtin>> list_filters() {
    return kFilters;
}

}  // namespace hearth::chat::jinja
