// The journal's thread and its queue.
//
//   append()  stamps the record, puts it in the queue, wakes the thread
//   thread    takes all that waits (up to kBatchRecords), writes it in one transaction, syncs it
//             where a decision asks for that (sync_first), then calls back in the order of
//             append(); in between syncs and checkpoints when they are due
//
// Under load the batches grow by themselves: what arrives during one transaction is the next one.
// A full queue fails the record at once (`overloaded`) instead of waiting: a decision that cannot
// be written must not be carried out.
//
// The chain's checkpoints: every kSealEvery entries, and when writing pauses, the thread hands
// where the chain stands to the sealer, a thread that asks the signer, and goes on writing; the
// answer comes back through the queue as an entry. A record is acknowledged when it is written,
// signed or not: the signature says later that it was there.
//
// Timers run on the steady clock, not on the Clock parameter: safety against power loss must not
// depend on a clock that a test holds still. Stamps come from the parameter.
#include "journal/journal.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/check.h"
#include "base/crypto.h"
#include "base/format.h"
#include "base/json.h"
#include "base/log.h"
#include "journal/content.h"
#include "journal/limits.h"
#include "journal/row.h"
#include "journal/sealer.h"
#include "journal/writer.h"

namespace hearth::journal {
namespace {

using Steady = std::chrono::steady_clock;

struct Item {
    std::int64_t wall_ns = 0;
    Record record;
    Journal::Done done;
};
struct Rejection {
    Error error;
    Journal::Done done;
};

// The text beside a record; null for records that have none.
BodyRecord* body_of(Record& record) {
    if (auto* decision = std::get_if<DecisionRecord>(&record)) return &decision->body;
    if (auto* outcome = std::get_if<OutcomeRecord>(&record)) return &outcome->body;
    return nullptr;
}

class ThreadedJournal final : public Journal {
  public:
    ThreadedJournal(std::unique_ptr<Writer> writer, JournalOptions options, std::string digest_key,
                    const Clock& clock)
        : options_(std::move(options)),
          digest_key_(digest_key),
          writer_(std::move(writer)),
          sealer_(options_.signer),
          clock_(clock),
          thread_([this] { run(); }) {}
    ~ThreadedJournal() override {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        wake_.notify_all();
        thread_.join();
    }

    void append(DecisionRecord record, Done on_written) override {
        push(std::move(record), std::move(on_written), kQueueDecisions);
    }
    void append(OutcomeRecord record, Done on_written) override {
        push(std::move(record), std::move(on_written), kQueueRecords);
    }
    void append(egress::Receipt receipt, Done on_written) override {
        push(std::move(receipt), std::move(on_written), kQueueRecords);
    }
    void append(EventRecord record, Done on_written) override {
        push(std::move(record), std::move(on_written), kQueueRecords);
    }
    Status flush() override;
    void release_signer() override;
    std::string prompt_digest(std::string_view text) const override {
        CanonicalForm form("hearth-prompt-digest-v1");
        form.text(text);
        return audit::hex_of(digest_key_.of(form.bytes()));
    }

  private:
    void push(Record record, Done done, std::size_t n_max);
    std::int64_t stamp();  // Requires: mutex_ held.
    void run();
    void wait(std::unique_lock<std::mutex>& lock);
    void write(std::vector<Item> batch);
    void keep_body(Item& item);
    Result<ContentStore*> content();
    void finish_erasure();
    void erase_content(std::int64_t before_wall_ns);
    Status record_erasure(const ErasureRange& range, std::int64_t n, bool taken_up);
    void sync_content();
    void keep_house();
    void keep_files();
    void keep_seals();
    void begin();
    void end();
    void seal();
    void push_own(const char* event, std::string json);
    void write_own(const char* event, std::string json);
    CheckpointRequest request_here() const;
    std::int64_t n_served() const { return options_.n_served ? options_.n_served() : 0; }

    const JournalOptions options_;
    const audit::HmacSha256 digest_key_;

    // Owned by the journal thread.
    std::unique_ptr<Writer> writer_;
    std::unique_ptr<ContentStore> content_;  // from the first body on
    std::map<std::string, std::int64_t> prompts_;  // of requests that run: where theirs are kept
    std::optional<Steady::time_point> sync_due_, checkpoint_due_, seal_due_;
    Steady::time_point heartbeat_due_, retire_due_;
    std::int64_t n_unsealed_ = 0;  // records since the last checkpoint was asked for
    Sealer sealer_;

    const Clock& clock_;
    std::mutex mutex_;  // guards what follows; held for moves only
    std::condition_variable wake_, written_;
    std::deque<Item> queue_;
    std::vector<Rejection> rejections_;
    std::size_t queue_bytes_ = 0;
    std::int64_t n_appended_ = 0, n_written_ = 0;  // records that entered the queue, that left it
    std::int64_t last_wall_ns_ = 0;
    std::optional<Error> first_error_;  // since the last flush()
    bool stop_ = false;
    bool release_ = false, released_ = false;  // asked to let go of the signer; did
    bool sealed_ = false;                      // the sealer has an answer

    std::thread thread_;  // last: it uses all of the above
};

// Rising within a slot, so that time orders its records even when two come in the same nanosecond
// or a clock that is being slewed stands still. A clock that was set back for good is believed.
std::int64_t ThreadedJournal::stamp() {
    constexpr std::int64_t kSlewNs = 1'000'000;
    const std::int64_t now_ns = clock_.wall_ns();
    const bool behind = now_ns <= last_wall_ns_ && last_wall_ns_ - now_ns < kSlewNs;
    last_wall_ns_ = behind ? last_wall_ns_ + 1 : now_ns;
    return last_wall_ns_;
}

void ThreadedJournal::push(Record record, Done done, std::size_t n_max) {
    std::size_t n_bytes = bytes_of(record);
    {
        const std::lock_guard lock(mutex_);
        CHECK(!stop_);
        if (queue_bytes_ + n_bytes > kQueueBytes) {  // the record matters more than what is kept
            if (BodyRecord* body = body_of(record); body && !body->text.empty())
                *body = {.text = {}, .not_kept = "the journal is behind"};
            n_bytes = bytes_of(record);
        }
        if (queue_.size() < n_max && queue_bytes_ + n_bytes <= kQueueBytes) {
            queue_bytes_ += n_bytes;
            ++n_appended_;
            queue_.push_back({stamp(), std::move(record), std::move(done)});
        } else {
            Error error{.kind = ErrorKind::overloaded,
                        .message = format("the journal is {} records behind; nothing may leave "
                                          "before it is written down",
                                          queue_.size()),
                        .retry_after_s = 1};
            if (!first_error_) first_error_ = error;
            // Callers wait for the answer to one record before they append more for a request, so
            // that admission bounds this list.
            rejections_.push_back({std::move(error), std::move(done)});
        }
    }
    wake_.notify_one();
}

Status ThreadedJournal::flush() {
    CHECK(std::this_thread::get_id() != thread_.get_id());
    std::unique_lock lock(mutex_);
    const std::int64_t n_wanted = n_appended_;
    written_.wait(lock, [&] { return n_written_ >= n_wanted && rejections_.empty(); });
    if (!first_error_) return {};
    Error error = std::move(*first_error_);
    first_error_.reset();
    return fail(std::move(error));
}

void ThreadedJournal::wait(std::unique_lock<std::mutex>& lock) {
    const auto something = [&] {
        return (stop_ && !sealer_.busy()) || !queue_.empty() || !rejections_.empty() || sealed_ ||
               (release_ && !released_ && !sealer_.busy());
    };
    Steady::time_point due = std::min(heartbeat_due_, retire_due_);
    for (const auto& timer : {sync_due_, checkpoint_due_, seal_due_})
        if (timer) due = std::min(due, *timer);
    wake_.wait_until(lock, due, something);
}

void ThreadedJournal::run() {
    ::pthread_setname_np(::pthread_self(), "journal");
    begin();
    for (;;) {
        std::vector<Item> batch;
        std::vector<Rejection> rejections;
        bool stop = false;
        {
            std::unique_lock lock(mutex_);
            wait(lock);
            while (!queue_.empty() && batch.size() < kBatchRecords) {
                queue_bytes_ -= bytes_of(queue_.front().record);
                batch.push_back(std::move(queue_.front()));
                queue_.pop_front();
            }
            rejections.swap(rejections_);
            stop = stop_ && queue_.empty() && !sealer_.busy();
            sealed_ = false;
        }
        for (Rejection& rejection : rejections) {
            if (rejection.done)
                rejection.done(fail(std::move(rejection.error)));
            else
                log_error("journal_record_lost", {{"error", rejection.error.message}});
        }
        if (!batch.empty()) write(std::move(batch));
        if (!rejections.empty()) written_.notify_all();
        if (auto sealed = sealer_.take()) push_own("audit.checkpoint", audit::to_json(*sealed));
        keep_house();
        if (stop) break;
        keep_seals();
    }
    end();
    writer_.reset();  // syncs, checkpoints and closes on this thread
}

void ThreadedJournal::write(std::vector<Item> batch) {
    std::vector<StampedRow> rows;
    std::vector<Status> outcomes(batch.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
        keep_body(batch[i]);
        if (const auto* outcome = std::get_if<OutcomeRecord>(&batch[i].record))
            prompts_.erase(outcome->request_id);
        Result<Row> row = to_row(batch[i].record);
        if (row)
            rows.push_back({batch[i].wall_ns, std::move(*row)});
        else
            outcomes[i] = fail(std::move(row.error()));
    }
    if (options_.sync == Sync::each) sync_content();
    const Status written = rows.empty() ? Status() : writer_->write(rows);
    const bool sync_now = written && std::ranges::any_of(rows, [](const StampedRow& stamped) {
                              return stamped.row.sync_first;
                          });
    const Status synced = sync_now ? writer_->sync() : Status();
    std::optional<Error> first;
    for (std::size_t i = 0; i < batch.size(); ++i) {
        Status& outcome = outcomes[i];
        if (outcome) outcome = written;
        const auto* decision = std::get_if<DecisionRecord>(&batch[i].record);
        if (outcome && decision && decision->sync_first) outcome = synced;
        if (!outcome && !first) first = outcome.error();
        if (batch[i].done)
            batch[i].done(outcome);
        else if (!outcome)
            log_error("journal_record_lost", {{"error", outcome.error().message}});
    }
    {
        const std::lock_guard lock(mutex_);
        n_written_ += std::int64_t(batch.size());
        if (first && !first_error_) first_error_ = first;
    }
    written_.notify_all();
    const auto now = Steady::now();
    if (writer_->needs_sync() && !sync_due_)
        sync_due_ = now + std::chrono::milliseconds(kGroupSyncMs);
    checkpoint_due_ = now + std::chrono::milliseconds(kCheckpointIdleMs);
    heartbeat_due_ = now + std::chrono::milliseconds(kHeartbeatMs);
    const auto is_seal = [](const Item& item) {
        const auto* own = std::get_if<ChainRecord>(&item.record);
        return own && own->event == "audit.checkpoint";
    };
    n_unsealed_ += std::ranges::count_if(batch, std::not_fn(is_seal));
    if (n_unsealed_ > 0) seal_due_ = now + std::chrono::milliseconds(kSealIdleMs);
}

// Before the record becomes a row: the text goes into a file of its own, and the entry says which
// ciphertext it is. A text that cannot be kept does not hold up the request: the entry says so. An
// answer follows its prompt: where that was erased while the request ran, it is not kept.
void ThreadedJournal::keep_body(Item& item) {
    BodyRecord* const body = body_of(item.record);
    if (!body || (body->text.empty() && body->not_kept.empty())) return;
    JsonWriter w;
    w.begin_object();
    if (!body->text.empty()) {
        const auto* decision = std::get_if<DecisionRecord>(&item.record);
        const std::string& id =
            decision ? decision->request_id : std::get<OutcomeRecord>(item.record).request_id;
        auto store = content();
        const auto prompt = prompts_.find(id);
        const auto after =
            prompt == prompts_.end() ? std::nullopt : std::optional(prompt->second);
        auto kept = store ? (*store)->keep(decision ? BodyKind::prompt : BodyKind::answer, id,
                                           item.wall_ns, body->text, after)
                          : Result<KeptBody>(std::unexpected(store.error()));
        if (kept) {
            if (decision) prompts_[id] = kept->place;
            w.field("sha256", kept->sha256).field("n_bytes", kept->n_bytes);
        } else {
            body->not_kept = kept.error().message;
            if (kept.error().kind != ErrorKind::invalid_request &&
                kept.error().kind != ErrorKind::cancelled)
                log_error("content_not_kept", {{"request", id}, {"error", body->not_kept}});
        }
    }
    if (!body->not_kept.empty()) w.field("not_kept", body->not_kept);
    w.end_object();
    *body = {.text = {}, .not_kept = {}, .json = w.take()};
}

Result<ContentStore*> ThreadedJournal::content() {
    if (!content_) {
        HEARTH_TRY(content_, ContentStore::open(options_.folder, keys_folder_of(options_),
                                                ContentStore::Mode::make));
    }
    return content_.get();
}

void ThreadedJournal::sync_content() {
    if (!content_) return;
    if (const Status synced = content_->sync(); !synced)
        log_error("content_sync_failed", {{"error", synced.error().message}});
}

// An erasure that an end cut off, by whichever process: recorded, then finished.
void ThreadedJournal::finish_erasure() {
    const std::string keys_folder = keys_folder_of(options_);
    auto store = ContentStore::open(options_.folder, keys_folder, ContentStore::Mode::existing);
    if (!store) {
        if (store.error().kind != ErrorKind::not_found)
            log_error("content_not_read", {{"error", store.error().message}});
        return;
    }
    const auto finished =
        (*store)->finish_erasure([this](const ErasureRange& range, std::int64_t n) {
            return record_erasure(range, n, true);
        });
    if (!finished)
        log_error("erasure_not_finished", {{"error", finished.error().message}});
    else if (*finished)
        log_warn("erasure_finished", {{"n", **finished}});
}

Status ThreadedJournal::record_erasure(const ErasureRange& range, std::int64_t n, bool taken_up) {
    std::int64_t wall_ns = 0;
    {
        const std::lock_guard lock(mutex_);
        wall_ns = stamp();
    }
    HEARTH_TRY(Row row, to_row(erasure_record("journal", range, n, taken_up)));
    const StampedRow stamped{wall_ns, std::move(row)};
    HEARTH_CHECK_OK(writer_->write(std::span(&stamped, 1)));
    return writer_->sync();
}

// Texts are kept no longer than entries.
void ThreadedJournal::erase_content(std::int64_t before_wall_ns) {
    auto store = ContentStore::open(options_.folder, keys_folder_of(options_),
                                    ContentStore::Mode::existing);
    if (!store) {
        if (store.error().kind != ErrorKind::not_found)
            log_error("content_not_read", {{"error", store.error().message}});
        return;
    }
    const auto erased = (*store)->erase_if_free(
        {.request_id = {}, .before_wall_ns = before_wall_ns},
        [this](const ErasureRange& range, std::int64_t n) {
            return record_erasure(range, n, false);
        });
    if (!erased)
        log_error("content_not_erased", {{"error", erased.error().message}});
    else if (*erased && **erased > 0)
        log_info("content_erased", {{"n", **erased}});
}

// Syncs and checkpoints that are due. Their failures lose nothing that is written; they are logged.
void ThreadedJournal::keep_house() {
    if (sync_due_ && Steady::now() >= *sync_due_) {
        sync_due_.reset();
        sync_content();
        if (const Status synced = writer_->sync(); !synced)
            log_error("journal_sync_failed", {{"error", synced.error().message}});
    }
    const bool idle = checkpoint_due_ && Steady::now() >= *checkpoint_due_;
    keep_files();
    if (!idle && writer_->wal_pages() < kCheckpointPages) return;
    checkpoint_due_.reset();
    if (writer_->wal_pages() == 0) return;
    if (const Status copied = writer_->checkpoint(); !copied)
        log_warn("journal_checkpoint_failed", {{"error", copied.error().message}});
    // A reader was in the way: again later.
    if (writer_->wal_pages() > 0)
        checkpoint_due_ = Steady::now() + std::chrono::milliseconds(kCheckpointIdleMs);
}

// Entries of the journal's own do not count against the queue: there are few, and they say what
// became of the others.
void ThreadedJournal::push_own(const char* event, std::string json) {
    const std::lock_guard lock(mutex_);
    Record record = ChainRecord{.event = event, .json = std::move(json)};
    queue_bytes_ += bytes_of(record);
    ++n_appended_;
    queue_.push_back({stamp(), std::move(record), nullptr});
}

void ThreadedJournal::write_own(const char* event, std::string json) {
    std::int64_t wall_ns = 0;
    {
        const std::lock_guard lock(mutex_);
        wall_ns = stamp();
    }
    const StampedRow row{wall_ns, own_row(event, std::move(json))};
    if (const Status written = writer_->write(std::span(&row, 1)); !written)
        log_error("journal_record_lost", {{"event", event}, {"error", written.error().message}});
}

// The opening is there before anything happens; where it cannot be written now, it comes before the
// first record.
void ThreadedJournal::begin() {
    if (const Status written = writer_->write({}); !written)
        log_error("journal_open_not_written", {{"error", written.error().message}});
    const auto now = Steady::now();
    if (writer_->needs_sync()) sync_due_ = now + std::chrono::milliseconds(kGroupSyncMs);
    heartbeat_due_ = now + std::chrono::milliseconds(kHeartbeatMs);
    retire_due_ = now;
    finish_erasure();
}

CheckpointRequest ThreadedJournal::request_here() const {
    return writer_->links().checkpoint_request(writer_->slot_name(), clock_.wall_ns(), n_served());
}

// Asks for a checkpoint of all that is written, unless one is on its way: then the next one covers
// what came since.
void ThreadedJournal::seal() {
    if (sealer_.busy() || n_unsealed_ == 0) return;
    n_unsealed_ = 0;
    seal_due_.reset();
    sealer_.ask(request_here(), [this] {
        const std::lock_guard lock(mutex_);
        sealed_ = true;
        wake_.notify_one();
    });
}

void ThreadedJournal::keep_seals() {
    const auto now = Steady::now();
    // What is signed must not be lost by a power cut afterwards: in the modes that sync, what is
    // synced is signed.
    if (!writer_->needs_sync() && (n_unsealed_ >= kSealEvery || (seal_due_ && now >= *seal_due_)))
        seal();
    if (now >= heartbeat_due_)
        push_own("audit.heartbeat", format("{{\"n_served\":{}}}", n_served()));
    bool release = false;
    {
        const std::lock_guard lock(mutex_);
        release = release_ && !released_ && queue_.empty() && !sealer_.busy();
    }
    if (!release) return;
    if (writer_->needs_sync()) (void)writer_->sync();
    n_unsealed_ = 0;
    write_own("audit.checkpoint", audit::to_json(sealer_.sign_now(request_here())));
    sealer_.drop_signer();
    {
        const std::lock_guard lock(mutex_);
        released_ = true;
    }
    written_.notify_all();
}

void ThreadedJournal::release_signer() {
    std::unique_lock lock(mutex_);
    release_ = true;
    wake_.notify_one();
    written_.wait(lock, [&] { return released_; });
}

// The last entries: that the writer ends by itself, and a checkpoint of all.
void ThreadedJournal::end() {
    JsonWriter w;
    w.begin_object().field("n_served", n_served()).end_object();
    write_own("audit.close", w.take());
    if (writer_->needs_sync()) (void)writer_->sync();
    write_own("audit.checkpoint", audit::to_json(sealer_.sign_now(request_here())));
}

// The size is asked for after each batch: two calls of stat(2), where a batch takes some dozens.
void ThreadedJournal::keep_files() {
    if (options_.rotate_bytes > 0 && writer_->file_bytes() > options_.rotate_bytes) {
        if (const Status rotated = writer_->rotate(); !rotated)
            log_error("journal_not_rotated", {{"error", rotated.error().message}});
    }
    if (Steady::now() < retire_due_) return;
    retire_due_ = Steady::now() + std::chrono::milliseconds(kRetireMs);
    if (options_.keep_ns <= 0) return;
    const std::int64_t before_wall_ns = clock_.wall_ns() - options_.keep_ns;
    if (const Status retired = writer_->retire(before_wall_ns); !retired)
        log_error("journal_not_retired", {{"error", retired.error().message}});
    erase_content(before_wall_ns);
}

}  // namespace

EventRecord erasure_record(const std::string& actor, const ErasureRange& range, std::int64_t n,
                           bool taken_up) {
    JsonWriter w;
    w.begin_object();
    if (range.request_id.empty())
        w.field("before_wall_ns", range.before_wall_ns);
    else
        w.field("request_id", range.request_id);
    w.field("n_bodies", n);
    if (taken_up) w.field("taken_up", true);
    w.end_object();
    return {.event = "content.erased", .actor = actor, .json = w.take()};
}

Result<std::unique_ptr<Journal>> Journal::open(const JournalOptions& options, const Clock& clock) {
    HEARTH_TRY(auto writer, Writer::open(options, clock));
    HEARTH_TRY(std::string digest_key,
               audit::read_or_make_key_file(keys_folder_of(options) + "/digest.key"));
    return std::make_unique<ThreadedJournal>(std::move(writer), options, std::move(digest_key),
                                             clock);
}

}  // namespace hearth::journal
