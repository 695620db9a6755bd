// HttpExchange: an exchange whose client speaks HTTP. Reads the body into the waist, writes events
// as the dialect's bytes, streamed or whole.
//
// Thread: made on `io`, reads on `prep`, writes from whichever thread an event comes on.
#pragma once

#include <functional>
#include <memory>

#include "chat/dialect.h"
#include "net/http_server.h"
#include "serve/exchange.h"

namespace hearth::serve {

class HttpExchange final : public ExchangeClient,
                           public std::enable_shared_from_this<HttpExchange> {
  public:
    HttpExchange(House& house, const chat::Dialect& dialect, net::HttpRequest request,
                 std::shared_ptr<net::Reply> reply);

    // On a prep thread: parse and go.
    void run();
    // A comment line if the stream has been silent for kKeepWaitingMs; the headers before it, where
    // a long prefill has kept them back. Any thread.
    void keep_waiting(std::int64_t now_ns);
    // Answers with an error if nothing has been answered yet.
    void send_error(const Error& error);

    void on_placed(const Placement& placement) override;
    void on_event(chat::Event event) override;
    bool ready() const override { return reply_->writable(); }
    bool cancelled() const override { return reply_->peer_gone(); }
    bool keeps_answer() const override { return !request_->stream; }

  private:
    Status read_headers(chat::ChatRequest& request) const;
    std::string decision_header() const;
    net::Headers response_headers(const char* content_type) const;
    void begin_stream();
    void write(const chat::Event& event);
    void answer_whole(const chat::Event& terminal);

    House& house_;
    const chat::Dialect& dialect_;
    net::HttpRequest http_;  // its `held` is the Admitted that admission gave it
    const std::shared_ptr<net::Reply> reply_;
    const std::string request_id_;
    const std::int64_t received_ns_;

    std::shared_ptr<chat::ChatRequest> request_;
    chat::ResponseHead head_;

    std::mutex mutex_;  // guards all below: events and keep_waiting come from different threads
    Placement placement_;
    std::unique_ptr<chat::WriteState> state_;
    std::vector<chat::Event> events_;  // not streamed: the answer so far
    bool streaming_ = false, ended_ = false;
    std::int64_t last_write_ns_ = 0;
};

}  // namespace hearth::serve
