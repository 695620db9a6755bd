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
// Timers run on the steady clock, not on the Clock parameter: safety against power loss must not
// depend on a clock that a test holds still. Stamps come from the parameter.
#include "journal/journal.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "base/check.h"
#include "base/format.h"
#include "base/log.h"
#include "journal/limits.h"
#include "journal/row.h"
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

class ThreadedJournal final : public Journal {
  public:
    ThreadedJournal(std::unique_ptr<Writer> writer, const Clock& clock)
        : writer_(std::move(writer)), clock_(clock), thread_([this] { run(); }) {}
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

  private:
    void push(Record record, Done done, std::size_t n_max);
    std::int64_t stamp();  // Requires: mutex_ held.
    void run();
    void wait(std::unique_lock<std::mutex>& lock);
    void write(std::vector<Item> batch);
    void keep_house();

    // Owned by the journal thread.
    std::unique_ptr<Writer> writer_;
    std::optional<Steady::time_point> sync_due_, checkpoint_due_;

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
    const std::size_t n_bytes = bytes_of(record);
    {
        const std::lock_guard lock(mutex_);
        CHECK(!stop_);
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
    const auto something = [&] { return stop_ || !queue_.empty() || !rejections_.empty(); };
    std::optional<Steady::time_point> due = sync_due_;
    if (checkpoint_due_ && (!due || *checkpoint_due_ < *due)) due = checkpoint_due_;
    if (due)
        wake_.wait_until(lock, *due, something);
    else
        wake_.wait(lock, something);
}

void ThreadedJournal::run() {
    ::pthread_setname_np(::pthread_self(), "journal");
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
            stop = stop_ && queue_.empty();
        }
        for (Rejection& rejection : rejections) {
            if (rejection.done)
                rejection.done(fail(std::move(rejection.error)));
            else
                log_error("journal_record_lost", {{"error", rejection.error.message}});
        }
        if (!batch.empty()) write(std::move(batch));
        if (!rejections.empty()) written_.notify_all();
        keep_house();
        if (stop) break;
    }
    writer_.reset();  // syncs, checkpoints and closes on this thread
}

void ThreadedJournal::write(std::vector<Item> batch) {
    std::vector<StampedRow> rows;
    std::vector<Status> outcomes(batch.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
        Result<Row> row = to_row(batch[i].record);
        if (row)
            rows.push_back({batch[i].wall_ns, std::move(*row)});
        else
            outcomes[i] = fail(std::move(row.error()));
    }
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
}

// Syncs and checkpoints that are due. Their failures lose nothing that is written; they are logged.
void ThreadedJournal::keep_house() {
    if (sync_due_ && Steady::now() >= *sync_due_) {
        sync_due_.reset();
        if (const Status synced = writer_->sync(); !synced)
            log_error("journal_sync_failed", {{"error", synced.error().message}});
    }
    const bool idle = checkpoint_due_ && Steady::now() >= *checkpoint_due_;
    if (!idle && writer_->wal_pages() < kCheckpointPages) return;
    checkpoint_due_.reset();
    if (writer_->wal_pages() == 0) return;
    if (const Status copied = writer_->checkpoint(); !copied)
        log_warn("journal_checkpoint_failed", {{"error", copied.error().message}});
    // A reader was in the way: again later.
    if (writer_->wal_pages() > 0)
        checkpoint_due_ = Steady::now() + std::chrono::milliseconds(kCheckpointIdleMs);
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::open(const JournalOptions& options, const Clock& clock) {
    HEARTH_TRY(auto writer, Writer::open(options, clock));
    return std::make_unique<ThreadedJournal>(std::move(writer), clock);
}

}  // namespace hearth::journal
