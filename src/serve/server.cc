#include "serve/server.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <list>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "base/ids.h"
#include "serve/http_exchange.h"
#include "serve/key_api.h"
#include "serve/key_watch.h"
#include "serve/limits.h"
#include "serve/taint_api.h"

namespace hearth::serve {
namespace {

// Local answers go on without the broker, so the status stays 200; what does not go on is said.
std::string health_json(const House& house) {
    JsonWriter w;
    const bool gone = house.metrics.broker_alive && !house.metrics.broker_alive();
    w.begin_object().field("status", gone ? "degraded" : "ok").field("version", HEARTH_VERSION);
    if (gone)
        w.field("egress",
                "the egress broker ended: nothing can leave this machine and no checkpoint is "
                "signed until hearth is restarted");
    return w.end_object().take();
}

class ServerImpl final : public Server {
  public:
    ServerImpl(House& house, std::vector<net::Listener> listeners, const AdmissionRules& rules,
               Gate* gate)
        : house_(house), rules_(rules), gate_(gate), started_s_(house.clock.wall_ns() / kNsPerS) {
        net::Handlers handlers;
        // Counted from here on, on the one io thread, so that the bound is exact.
        handlers.on_head = [this](net::HttpRequest& head) {
            auto who = std::make_shared<Admitted>();
            auto refusal = admit(head, rules_, house_.metrics.open_requests, gate_, who.get());
            if (refusal) return refusal;
            if (dialect_of(head.path)) who->open = std::make_unique<OpenRequest>(house_.metrics);
            head.held = std::move(who);
            return refusal;
        };
        handlers.on_request = [this](net::HttpRequest request, std::shared_ptr<net::Reply> reply) {
            on_request(std::move(request), std::move(reply));
        };
        handlers.on_protocol_error = [](int status, std::string_view message) {
            const ErrorKind kind =
                status >= 500 ? ErrorKind::overloaded : ErrorKind::invalid_request;
            auto response =
                error_response("", {.kind = kind, .message = std::string(message)}, status);
            // The head may be what is wrong: nothing of it is used.
            add_common({}, random_id("req-"), response.headers);
            return response;
        };
        http_ = net::HttpServer::start(std::move(listeners), std::move(handlers));
        ticker_ = std::jthread([this](std::stop_token stop) { tick(stop); });
    }

    bool drain(std::int64_t deadline_ms) override { return http_->drain(deadline_ms); }

  private:
    void on_request(net::HttpRequest request, std::shared_ptr<net::Reply> reply) {
        if (const chat::Dialect* dialect = dialect_of(request.path))
            return generate(*dialect, std::move(request), std::move(reply));
        if (key_api_methods(request.path) || taint_api_methods(request.path))
            return manage(std::move(request), std::move(reply));
        net::HttpResponse response = answer(request);
        add_common(request, random_id("req-"), response.headers);
        reply->send(std::move(response));
    }

    void generate(const chat::Dialect& dialect, net::HttpRequest request,
                  std::shared_ptr<net::Reply> reply) {
        auto exchange =
            std::make_shared<HttpExchange>(house_, dialect, std::move(request), std::move(reply));
        {
            const std::lock_guard lock(mutex_);
            open_.push_back(exchange);
        }
        if (!house_.prep.post([exchange] { exchange->run(); }))
            exchange->send_error(
                {.kind = ErrorKind::overloaded,
                 .message = "too many requests are being prepared; try again shortly",
                 .retry_after_s = kRetryAfterS});
    }

    // The APIs whose changes wait for a lock or the disk.
    void manage(net::HttpRequest request, std::shared_ptr<net::Reply> reply) {
        const auto shared = std::make_shared<net::HttpRequest>(std::move(request));
        const auto send = [shared, reply](net::HttpResponse response) {
            add_common(*shared, random_id("req-"), response.headers);
            reply->send(std::move(response));
        };
        // The server may be gone when this runs; the gate, like the house, is not.
        const bool posted = house_.prep.post([&house = house_, gate = gate_, shared, send] {
            const Admitted* const who = admitted(*shared);
            const Caller caller = who ? who->caller : local_operator();
            if (taint_api_methods(shared->path))
                return send(taint_api(house.inspector ? house.inspector->taint() : nullptr,
                                      house.journal, caller, *shared));
            if (!gate)
                return send(error_response(shared->path, {.kind = ErrorKind::not_found,
                                                          .message = "this server keeps no keys"}));
            send(key_api(gate->keys(), gate->quota(), caller, *shared, gate->on_event));
        });
        if (!posted)
            send(error_response(shared->path, {.kind = ErrorKind::overloaded,
                                               .message = "the machine is busy; try again shortly",
                                               .retry_after_s = kRetryAfterS}));
    }

    net::HttpResponse answer(const net::HttpRequest& request) {
        const Admitted* const who = admitted(request);
        const Scopes scopes = who ? who->caller.scopes : Scopes{};
        if (request.path == "/health" || request.path == "/v1/health")
            return json_response(200, health_json(house_));
        if (request.path == "/v1/models")
            return json_response(200, models_json(house_.places, started_s_, scopes));
        if (request.path == "/metrics") {
            net::HttpResponse response{
                .status = 200, .headers = {}, .body = metrics_text(house_, gate_)};
            response.headers.add("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
            return response;
        }
        if (request.path == "/") {
            net::HttpResponse response{.status = 200, .headers = {}, .body = {}};
            response.body = "hearth " HEARTH_VERSION
                            " is running. OpenAI clients: base URL ending "
                            "in /v1, any key. GET /v1/models, POST /v1/chat/completions.\n";
            response.headers.add("Content-Type", "text/plain; charset=utf-8");
            return response;
        }
        constexpr std::string_view kModels = "/v1/models/";
        auto body =
            model_json(house_.places, request.path.substr(kModels.size()), started_s_, scopes);
        return body ? json_response(200, std::move(*body))
                    : error_response(request.path, body.error());
    }

    // Once a second: silent streams get their comment line, finished exchanges are let go, and
    // engines forget the prompts of keys that ended.
    void tick(std::stop_token stop) {
        pthread_setname_np(pthread_self(), "tick");
        std::optional<KeyWatch> watch;
        if (gate_) watch.emplace(gate_->keys());
        std::unique_lock lock(mutex_);
        while (!wake_.wait_for(lock, stop, std::chrono::seconds(1), [] { return false; })) {
            if (stop.stop_requested()) return;
            std::vector<std::shared_ptr<HttpExchange>> live;
            open_.remove_if([&](const std::weak_ptr<HttpExchange>& weak) {
                auto exchange = weak.lock();
                if (exchange) live.push_back(exchange);
                return !exchange;
            });
            lock.unlock();
            for (const auto& exchange : live) exchange->keep_waiting(house_.clock.mono_ns());
            live.clear();
            if (watch) {
                for (const std::string& id : watch->ended()) house_.places.forget(id);
            }
            lock.lock();
        }
    }

    House& house_;
    const AdmissionRules rules_;
    Gate* const gate_;
    const std::int64_t started_s_;
    std::mutex mutex_;  // guards open_
    std::condition_variable_any wake_;
    std::list<std::weak_ptr<HttpExchange>> open_;
    std::unique_ptr<net::HttpServer> http_;
    std::jthread ticker_;  // last: it stops before what it uses goes
};

}  // namespace

std::unique_ptr<Server> Server::start(House& house, std::vector<net::Listener> listeners,
                                      const AdmissionRules& rules, Gate* gate) {
    return std::make_unique<ServerImpl>(house, std::move(listeners), rules, gate);
}

}  // namespace hearth::serve
