#include "journal/costs.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <vector>

#include "base/format.h"
#include "base/log.h"
#include "journal/schema.h"
#include "journal/slot.h"
#include "journal/sqlite.h"

namespace hearth::journal {
namespace {

// One column of a query: an expression, and where its number goes.
template <class T>
struct Number {
    const char* sql;
    std::int64_t T::* to;
};

constexpr Number<CostSums> kSums[] = {
    {"count(*)", &CostSums::n_requests},
    {"sum(route = 'local')", &CostSums::n_local},
    {"sum(route = 'fleet')", &CostSums::n_fleet},
    {"sum(route = 'cloud')", &CostSums::n_cloud},
    {"sum(route = 'refused')", &CostSums::n_refused},
    {"sum(input_tokens)", &CostSums::input_tokens},
    {"sum(cached_tokens)", &CostSums::cached_tokens},
    {"sum(output_tokens)", &CostSums::output_tokens},
    {"sum(reasoning_tokens)", &CostSums::reasoning_tokens},
    {"sum(total_ns)", &CostSums::total_ns},
    {"sum(busy_ns)", &CostSums::busy_ns},
    {"sum(idle_ns)", &CostSums::idle_ns},
    {"sum(energy_uj)", &CostSums::energy_uj},
    {"sum(CASE WHEN energy_source = 'rapl' THEN energy_uj END)", &CostSums::energy_rapl_uj},
    {"sum(energy_microusd)", &CostSums::energy_microusd},
    {"sum(amortisation_microusd)", &CostSums::amortisation_microusd},
    {"sum(idle_microusd)", &CostSums::idle_microusd},
    {"sum(cost_microusd)", &CostSums::paid_microusd},
    {"sum(CASE route WHEN 'cloud' THEN cost_microusd WHEN 'refused' THEN 0 ELSE other_microusd "
     "END)",
     &CostSums::all_cloud_microusd},
    {"sum(route IN ('local', 'fleet') AND other_microusd IS NULL)", &CostSums::n_all_cloud_unknown},
    {"sum(CASE route WHEN 'cloud' THEN other_microusd WHEN 'local' THEN coalesce(energy_microusd, "
     "0) + coalesce(amortisation_microusd, 0) + coalesce(idle_microusd, 0) END)",
     &CostSums::all_local_microusd},
    {"sum(route = 'fleet' OR (route = 'cloud' AND other_microusd IS NULL))",
     &CostSums::n_all_local_unknown},
    {"min(wall_ns)", &CostSums::first_wall_ns},
    {"max(wall_ns)", &CostSums::last_wall_ns},
};

constexpr Number<CostRow> kNumbers[] = {
    {"seq", &CostRow::seq},
    {"wall_ns", &CostRow::wall_ns},
    {"input_tokens", &CostRow::input_tokens},
    {"cached_tokens", &CostRow::cached_tokens},
    {"output_tokens", &CostRow::output_tokens},
    {"reasoning_tokens", &CostRow::reasoning_tokens},
    {"total_ns", &CostRow::total_ns},
    {"busy_ns", &CostRow::busy_ns},
    {"idle_ns", &CostRow::idle_ns},
    {"energy_uj", &CostRow::energy_uj},
    {"energy_microusd", &CostRow::energy_microusd},
    {"amortisation_microusd", &CostRow::amortisation_microusd},
    {"idle_microusd", &CostRow::idle_microusd},
    {"cost_microusd", &CostRow::paid_microusd},
};
struct Text {
    const char* sql;
    std::string CostRow::* to;
};
constexpr Text kTexts[] = {
    {"request_id", &CostRow::request_id},
    {"outcome", &CostRow::outcome},
    {"route", &CostRow::route},
    {"model", &CostRow::model},
    {"upstream", &CostRow::upstream},
    {"key_id", &CostRow::key_id},
    {"task", &CostRow::task},
    {"energy_source", &CostRow::energy_source},
    {"other", &CostRow::other},
};

const char* group_sql(CostsBy by) {
    switch (by) {
        case CostsBy::nothing:
            return "''";
        case CostsBy::task:
            return "coalesce(task, '')";
        case CostsBy::key:
            return "coalesce(key_id, '')";
        case CostsBy::model:
            return "CASE WHEN coalesce(upstream, '') = '' THEN coalesce(model, '') "
                   "ELSE upstream || '/' || model END";
        case CostsBy::tier:
            return "coalesce(route, '')";
        case CostsBy::day:
            return "strftime('%Y-%m-%d', wall_ns / 1000000000, 'unixepoch')";
    }
    return "''";
}

// The outcomes since ?1, with every column of this version: NULL where the file lacks it.
Result<std::string> outcomes_sql(Database& database) {
    std::set<std::string, std::less<>> there;
    HEARTH_TRY(Statement columns,
               database.prepare("SELECT name FROM pragma_table_info('entries')"));
    for (;;) {
        HEARTH_TRY(const bool row, columns.step());
        if (!row) break;
        there.insert(columns.text(0));
    }
    std::string sql = "(SELECT seq, wall_ns, request_id";
    for (const ColumnSpec& column : kColumns)
        sql += there.contains(column.name) ? format(", {}", column.name)
                                           : format(", NULL AS {}", column.name);
    return sql + " FROM entries WHERE event = 'outcome' AND wall_ns >= ?1)";
}

using Read = std::function<Status(Database&, const std::string& outcomes, const std::string& slot)>;

// One snapshot of each file. A damaged one is passed over with a warning, as by other readers.
Status each_file(const std::string& folder, const Read& read) {
    HEARTH_TRY(const std::vector<std::string> paths, slot_files(folder));
    for (const std::string& path : paths) {
        HEARTH_TRY(const auto database, Database::open(path, Database::Mode::read));
        const auto in_snapshot = [&]() -> Status {
            HEARTH_CHECK_OK(database->exec("BEGIN"));
            HEARTH_TRY(const FileState state, inspect(*database));
            if (state == FileState::empty) return {};
            HEARTH_TRY(const std::string outcomes, outcomes_sql(*database));
            return read(*database, outcomes, std::filesystem::path(path).filename().string());
        };
        const Status status = in_snapshot();
        if (status) continue;
        if (database->damage() == Damage::none) return status;
        log_warn("journal_file_skipped", {{"file", path}, {"error", status.error().message}});
    }
    return {};
}

Status add(CostSums& sum, const CostSums& more) {
    for (const Number<CostSums>& number : kSums) {
        if (number.to == &CostSums::first_wall_ns || number.to == &CostSums::last_wall_ns) continue;
        if (__builtin_add_overflow(sum.*number.to, more.*number.to, &(sum.*number.to)))
            return fail(ErrorKind::internal,
                        format("{} of all files does not fit in 64 bits", number.sql));
    }
    sum.first_wall_ns = sum.first_wall_ns == 0 ? more.first_wall_ns
                                               : std::min(sum.first_wall_ns, more.first_wall_ns);
    sum.last_wall_ns = std::max(sum.last_wall_ns, more.last_wall_ns);
    return {};
}

}  // namespace

Result<std::map<std::string, CostSums>> sum_costs(const std::string& folder,
                                                  std::int64_t since_wall_ns, CostsBy by) {
    std::map<std::string, CostSums> groups;
    const Read read = [&](Database& database, const std::string& outcomes,
                          const std::string&) -> Status {
        std::string sql = format("SELECT {}", group_sql(by));
        for (const Number<CostSums>& number : kSums) sql += format(", {}", number.sql);
        sql += format(" FROM {} GROUP BY 1", outcomes);
        HEARTH_TRY(Statement statement, database.prepare(sql.c_str()));
        statement.bind(1, since_wall_ns);
        for (;;) {
            HEARTH_TRY(const bool row, statement.step());
            if (!row) return {};
            CostSums sums;
            int column = 1;
            for (const Number<CostSums>& number : kSums)
                sums.*number.to = statement.integer(column++);
            HEARTH_CHECK_OK(add(groups[statement.text(0)], sums));
        }
    };
    HEARTH_CHECK_OK(each_file(folder, read));
    return groups;
}

Status each_cost(const std::string& folder, std::int64_t since_wall_ns,
                 const std::function<void(const CostRow&)>& take) {
    return each_file(
        folder,
        [&](Database& database, const std::string& outcomes, const std::string& slot) -> Status {
            std::string sql = "SELECT other_microusd, other_microusd IS NULL";
            for (const Number<CostRow>& number : kNumbers) sql += format(", {}", number.sql);
            for (const Text& text : kTexts) sql += format(", {}", text.sql);
            sql += format(" FROM {} ORDER BY seq", outcomes);
            HEARTH_TRY(Statement statement, database.prepare(sql.c_str()));
            statement.bind(1, since_wall_ns);
            for (;;) {
                HEARTH_TRY(const bool there, statement.step());
                if (!there) return {};
                CostRow row;
                row.slot = slot;
                if (statement.integer(1) == 0) row.other_microusd = statement.integer(0);
                int column = 2;
                for (const Number<CostRow>& number : kNumbers)
                    row.*number.to = statement.integer(column++);
                for (const Text& text : kTexts) row.*text.to = statement.text(column++);
                take(row);
            }
        });
}

}  // namespace hearth::journal
