// `is` tests.
#include "base/format.h"
#include "base/utf8.h"
#include "chat/jinja/builtins.h"
#include "chat/jinja/text.h"

namespace hearth::chat::jinja {
namespace {

const Value& other(const char* name, Args& args) {
    if (args.positional.size() != 1) stop(format("test '{}' needs one argument", name));
    return args.positional[0];
}

template <char kOp>
bool ordered(Interp& in, const Value& v, Args& args) {
    const Value& o = other("comparison", args);
    switch (kOp) {
        case '<':
            return compare(v, o, "<", in.meter()) < 0;
        case 'l':
            return compare(v, o, "<=", in.meter()) <= 0;
        case '>':
            return compare(v, o, ">", in.meter()) > 0;
        default:
            return compare(v, o, ">=", in.meter()) >= 0;
    }
}

bool is_equal(Interp& in, const Value& v, Args& args) {
    return equals(v, other("eq", args), in.meter());
}
bool is_not_equal(Interp& in, const Value& v, Args& args) {
    return !equals(v, other("ne", args), in.meter());
}

template <int kWhat>  // 0: odd, 1: even
bool parity(Interp&, const Value& v, Args&) {
    if (v.is_undefined()) stop(v.why_undefined());
    if (!v.is_whole()) return false;
    return (v.whole() % 2 == 0) == (kWhat == 1);
}

bool divisible(Interp& in, const Value& v, Args& args) {
    const Value r = binary(Op::mod, v, other("divisibleby", args), in);
    return !r.truth();
}

template <bool (*kCase)(char32_t), bool (*kOtherCase)(char32_t)>
bool all_case(Interp& in, const Value& v, Args&) {
    const std::string s = soft_text(v, in);
    bool any = false;
    for (std::size_t at = 0; at < s.size();) {
        const char32_t c = utf8_next(s, at);
        if (kOtherCase(c)) return false;
        any = any || kCase(c);
    }
    return any;
}

bool is_iterable(Interp&, const Value& v, Args&) {
    return v.is_undefined() || v.is_string() || v.is_list() || v.is_dict();
}
bool is_sequence(Interp&, const Value& v, Args&) {
    return v.is_undefined() || v.is_string() || v.is_list() || v.is_dict();
}

bool has_filter(Interp&, const Value& v, Args&) {
    return v.is_string() && find_filter(v.text()) != nullptr;
}
bool has_test(Interp&, const Value& v, Args&) {
    return v.is_string() && find_test(v.text()) != nullptr;
}

bool is_in(Interp& in, const Value& v, Args& args) {
    return contains(other("in", args), v, in);
}

using K = Value::Kind;
template <K kKind>
bool is_kind(Interp&, const Value& v, Args&) {
    return v.kind() == kKind;
}

bool is_not_undefined(Interp&, const Value& v, Args&) {
    return !v.is_undefined();
}
bool is_callable(Interp&, const Value& v, Args&) {
    return v.is_object() && v.object().callable();
}
bool is_number(Interp&, const Value& v, Args&) {
    return v.is_number();
}
bool is_true(Interp&, const Value& v, Args&) {
    return v.is_bool() && v.truth();
}
bool is_false(Interp&, const Value& v, Args&) {
    return v.is_bool() && !v.truth();
}
bool is_same(Interp&, const Value& v, Args& args) {
    return v.same_as(other("sameas", args));
}
bool never(Interp&, const Value&, Args&) {
    return false;
}

constexpr Named<Test> kTests[] = {
    {"defined", is_not_undefined},
    {"string", is_kind<K::string>},
    {"none", is_kind<K::none>},
    {"mapping", is_kind<K::dict>},
    {"iterable", is_iterable},
    {"sequence", is_sequence},
    {"undefined", is_kind<K::undefined>},
    {"boolean", is_kind<K::boolean>},
    {"true", is_true},
    {"false", is_false},
    {"integer", is_kind<K::integer>},
    {"float", is_kind<K::real>},
    {"number", is_number},
    {"callable", is_callable},
    {"odd", parity<0>},
    {"even", parity<1>},
    {"divisibleby", divisible},
    {"in", is_in},
    {"sameas", is_same},
    {"lower", all_case<is_lower, is_upper>},
    {"upper", all_case<is_upper, is_lower>},
    {"escaped", never},
    {"filter", has_filter},
    {"test", has_test},
    {"eq", is_equal},
    {"==", is_equal},
    {"equalto", is_equal},
    {"ne", is_not_equal},
    {"!=", is_not_equal},
    {"lt", ordered<'<'>},
    {"<", ordered<'<'>},
    {"lessthan", ordered<'<'>},
    {"le", ordered<'l'>},
    {"<=", ordered<'l'>},
    {"gt", ordered<'>'>},
    {">", ordered<'>'>},
    {"greaterthan", ordered<'>'>},
    {"ge", ordered<'g'>},
    {">=", ordered<'g'>},
};

}  // namespace

std::span<const Named<Test>> tests() {
    return kTests;
}

}  // namespace hearth::chat::jinja
