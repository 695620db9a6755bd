#include "audit/receipt.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "audit/checkpoint.h"
#include "base/format.h"
#include "base/json.h"

namespace hearth::audit {
namespace {

using egress::Purpose;
using egress::Receipt;

constexpr std::string_view kDomain = "hearth-egress-receipt-v1";

std::optional<Purpose> purpose_from(std::string_view name) {
    for (const Purpose purpose :
         {Purpose::inference, Purpose::download, Purpose::identity, Purpose::telemetry})
        if (name == egress::name_of(purpose)) return purpose;
    return std::nullopt;
}

// The members of one object, and the first that is not as expected.
class Members {
  public:
    explicit Members(const Json& json) : json_(json) {}
    std::string text(const char* name, bool required = true) {
        const auto it = json_.find(name);
        if (it == json_.end() && !required) return {};
        if (it == json_.end() || !it->is_string()) return wrong(name), std::string();
        return it->get<std::string>();
    }
    std::int64_t number(const char* name, bool required = true) {
        const auto it = json_.find(name);
        if (it == json_.end() && !required) return 0;
        if (it == json_.end() || !it->is_number_integer()) return wrong(name), 0;
        return it->get<std::int64_t>();
    }
    bool boolean(const char* name) {
        const auto it = json_.find(name);
        if (it == json_.end() || !it->is_boolean()) return wrong(name), false;
        return it->get<bool>();
    }
    void wrong(const char* name) {
        if (wrong_ == nullptr) wrong_ = name;
    }
    const char* problem() const { return wrong_; }

  private:
    const Json& json_;
    const char* wrong_ = nullptr;
};

}  // namespace

std::string signed_bytes(const Receipt& r) {
    CanonicalForm form(kDomain);
    form.number(r.number).text(r.request_id).text(r.rule).text(egress::name_of(r.purpose));
    form.text(r.destination.host).number(std::int64_t(r.destination.port));
    form.number(std::int64_t(r.destination.tls)).text(r.who).text(r.address);
    form.text(r.tls_spki_sha256).text(r.outcome).text(r.digest_out);
    form.number(r.bytes_out).number(r.bytes_in);
    form.number(r.wire_bytes_out).number(r.wire_bytes_in);
    form.number(r.opened_wall_ns).number(r.closed_wall_ns);
    return form.bytes();
}

void sign(const SigningKey& key, Receipt& receipt) {
    receipt.key_id = key_id(key.public_key());
    receipt.signature = to_hex(key.sign(signed_bytes(receipt)));
}

bool verify_receipt(const Receipt& receipt, std::string_view public_key) {
    if (receipt.number < 1 || receipt.key_id != key_id(public_key)) return false;
    const auto signature = from_hex(receipt.signature);
    return signature && hearth::verify_signature(public_key, signed_bytes(receipt), *signature);
}

std::string to_json(const Receipt& r) {
    JsonWriter w;
    w.begin_object().field("request_id", r.request_id);
    w.field("rule", r.rule).field("purpose", egress::name_of(r.purpose));
    w.field("host", r.destination.host).field("port", r.destination.port);
    w.field("tls", r.destination.tls).field("who", r.who).field("address", r.address);
    w.field("tls_spki_sha256", r.tls_spki_sha256).field("outcome", r.outcome);
    w.field("digest_out", r.digest_out);
    w.field("bytes_out", r.bytes_out).field("bytes_in", r.bytes_in);
    w.field("wire_bytes_out", r.wire_bytes_out).field("wire_bytes_in", r.wire_bytes_in);
    w.field("opened_wall_ns", r.opened_wall_ns).field("closed_wall_ns", r.closed_wall_ns);
    w.field("number", r.number).field("key_id", r.key_id).field("signature", r.signature);
    w.end_object();
    return w.take();
}

Result<Receipt> parse_receipt(std::string_view text) {
    HEARTH_TRY(const Json json, parse_json(text, {.depth = 1, .keys_per_object = 64}));
    if (!json.is_object()) return fail(ErrorKind::invalid_request, "a receipt is no JSON object");
    Members m(json);
    Receipt r;
    r.request_id = m.text("request_id");
    r.rule = m.text("rule");
    const auto purpose = purpose_from(m.text("purpose"));
    if (!purpose) m.wrong("purpose");
    r.purpose = purpose.value_or(Purpose::inference);
    r.destination.host = m.text("host");
    const std::int64_t port = m.number("port");
    if (port < 1 || port > 65535) m.wrong("port");
    r.destination.port = int(port);
    r.destination.tls = m.boolean("tls");
    r.who = m.text("who", false);
    r.address = m.text("address");
    r.tls_spki_sha256 = m.text("tls_spki_sha256");
    r.outcome = m.text("outcome");
    r.digest_out = m.text("digest_out", false);
    r.bytes_out = m.number("bytes_out");
    r.bytes_in = m.number("bytes_in");
    r.wire_bytes_out = m.number("wire_bytes_out");
    r.wire_bytes_in = m.number("wire_bytes_in");
    r.opened_wall_ns = m.number("opened_wall_ns");
    r.closed_wall_ns = m.number("closed_wall_ns");
    r.number = m.number("number", false);
    r.key_id = m.text("key_id", false);
    r.signature = m.text("signature", false);
    if (m.problem() != nullptr)
        return fail(
            ErrorKind::invalid_request,
            format("the receipt of request {} has no usable member {}", r.request_id, m.problem()));
    return r;
}

}  // namespace hearth::audit
