#include "egress/message.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/format.h"
#include "base/utf8.h"
#include "egress/limits.h"

namespace hearth::egress {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 8;

class Writer {
  public:
    void integer(std::uint64_t value, int n_bytes) {
        for (int i = 0; i < n_bytes; ++i) out_.push_back(char(value >> (8 * i)));
    }
    void text(std::string_view text, std::size_t limit, const char* field) {
        if (text.size() > limit && problem_.empty())
            problem_ = format("{} has {} bytes, at most {} are allowed", field, text.size(), limit);
        integer(text.size() & 0xffff, 2);
        out_.append(text.substr(0, 0xffff));
    }
    void destination(const Destination& d) {
        text(d.host, kHostBytesMax, "host");
        if ((d.port < 1 || d.port > 65535) && problem_.empty())
            problem_ = format("port {} is not in 1..65535", d.port);
        integer(std::uint64_t(d.port) & 0xffff, 2);
        integer(d.tls ? 1 : 0, 1);
    }
    Result<std::string> finish(std::size_t type) {
        if (!problem_.empty()) return fail(ErrorKind::invalid_request, "egress: " + problem_);
        Writer head;
        head.integer(kVersion, 1);
        head.integer(type + 1, 1);
        head.integer(0, 2);
        head.integer(out_.size(), 4);
        if (kHeaderBytes + out_.size() > kMessageBytesMax)
            return fail(ErrorKind::invalid_request,
                        format("egress: the allow-list needs {} bytes, at most {} are allowed; "
                               "configure fewer upstreams",
                               out_.size(), kMessageBytesMax));
        return head.out_ + out_;
    }

  private:
    std::string out_, problem_;
};

class Reader {
  public:
    explicit Reader(std::string_view bytes) : rest_(bytes) {}
    std::uint64_t integer(int n_bytes, const char* field) {
        if (rest_.size() < std::size_t(n_bytes)) return wrong(field, "is cut off"), 0;
        std::uint64_t value = 0;
        for (int i = 0; i < n_bytes; ++i)
            value |= std::uint64_t(static_cast<unsigned char>(rest_[std::size_t(i)])) << (8 * i);
        rest_.remove_prefix(std::size_t(n_bytes));
        return value;
    }
    std::int64_t signed64(const char* field) { return std::int64_t(integer(8, field)); }
    std::string text(std::size_t limit, const char* field) {
        const std::size_t n = integer(2, field);
        if (n > limit) return wrong(field, "is too long"), "";
        if (n > rest_.size()) return wrong(field, "is cut off"), "";
        std::string out(rest_.substr(0, n));
        rest_.remove_prefix(n);
        return out;
    }
    // Values 0..last.
    std::uint8_t choice(std::uint8_t last, const char* field) {
        const auto value = integer(1, field);
        if (value > last) wrong(field, "has an unknown value");
        return std::uint8_t(value);
    }
    bool boolean(const char* field) { return choice(1, field) == 1; }
    Destination destination() {
        Destination d;
        d.host = text(kHostBytesMax, "host");
        d.port = int(integer(2, "port"));
        if (d.port == 0) wrong("port", "is zero");
        d.tls = boolean("tls");
        return d;
    }
    void wrong(const char* field, const char* how) {
        if (problem_.empty()) problem_ = format("{} {}", field, how);
    }
    bool failed() const { return !problem_.empty(); }
    std::size_t left() const { return rest_.size(); }
    const std::string& problem() const { return problem_; }

  private:
    std::string_view rest_;
    std::string problem_;
};

constexpr auto kPurposeLast = std::uint8_t(Purpose::telemetry);
constexpr auto kErrorLast = std::uint8_t(ErrorKind::internal);

void write(Writer& w, const AllowListMessage& m) {
    w.integer(m.rules.size(), 2);
    for (const AllowRule& rule : m.rules) {
        w.destination(rule.destination);
        w.integer(std::uint8_t(rule.purpose), 1);
        w.text(rule.name, kNameBytesMax, "name of a rule");
        w.text(rule.ca_file, kPathBytesMax, "ca_file");
    }
    w.text(m.folder, kPathBytesMax, "folder");
}
void write(Writer& w, const ReadyMessage& m) {
    w.text(m.problem, kTextBytesMax, "problem");
    w.text(m.public_key, kTextBytesMax, "public key");
}
void write(Writer& w, const RequestMessage& m) {
    w.integer(m.id, 8);
    w.integer(std::uint8_t(m.purpose), 1);
    w.destination(m.destination);
    w.text(m.request_id, kNameBytesMax, "request id");
    w.text(m.rule, kNameBytesMax, "rule");
    w.integer(m.timeout_ms, 4);
    w.text(m.who, kNameBytesMax, "who");
}
void write(Writer& w, const AnswerMessage& m) {
    w.integer(m.id, 8);
    w.integer(m.ok ? 1 : 0, 1);
    w.integer(std::uint8_t(m.kind), 1);
    w.text(m.message, kTextBytesMax, "message");
}
void write(Writer& w, const ReceiptMessage& m) {
    w.integer(m.id, 8);
    w.text(m.address, kTextBytesMax, "address");
    w.text(m.tls_spki_sha256, kTextBytesMax, "tls_spki_sha256");
    w.text(m.outcome, kTextBytesMax, "outcome");
    for (const std::int64_t value : {m.bytes_out, m.bytes_in, m.wire_bytes_out, m.wire_bytes_in,
                                     m.opened_wall_ns, m.closed_wall_ns})
        w.integer(std::uint64_t(value), 8);
    w.text(m.rule, kNameBytesMax, "rule");
    w.text(m.digest_out, kNameBytesMax, "digest_out");
    w.text(m.key_id, kNameBytesMax, "key_id");
    w.text(m.signature, kNameBytesMax, "signature");
    w.integer(std::uint64_t(m.number), 8);
}
void write(Writer& w, const CheckpointMessage& m) {
    w.integer(m.id, 8);
    w.text(m.json, kCheckpointBytesMax, "checkpoint");
}
void write(Writer& w, const SignedMessage& m) {
    w.integer(m.id, 8);
    w.integer(m.ok ? 1 : 0, 1);
    w.integer(std::uint8_t(m.kind), 1);
    w.text(m.text, kCheckpointBytesMax, "signed checkpoint");
}
void write(Writer&, const FinishMessage&) {}

Message read_allow_list(Reader& r) {
    AllowListMessage m;
    const std::size_t n = r.integer(2, "number of rules");
    if (n > kRulesMax) r.wrong("number of rules", "is too large");
    for (std::size_t i = 0; i < n && !r.failed(); ++i) {
        AllowRule rule;
        rule.destination = r.destination();
        rule.purpose = Purpose(r.choice(kPurposeLast, "purpose"));
        rule.name = r.text(kNameBytesMax, "name of a rule");
        rule.ca_file = r.text(kPathBytesMax, "ca_file");
        m.rules.push_back(std::move(rule));
    }
    m.folder = r.text(kPathBytesMax, "folder");
    return m;
}
Message read_request(Reader& r) {
    RequestMessage m;
    m.id = r.integer(8, "id");
    m.purpose = Purpose(r.choice(kPurposeLast, "purpose"));
    m.destination = r.destination();
    m.request_id = r.text(kNameBytesMax, "request id");
    m.rule = r.text(kNameBytesMax, "rule");
    m.timeout_ms = std::uint32_t(r.integer(4, "timeout_ms"));
    m.who = r.text(kNameBytesMax, "who");
    return m;
}
Message read_answer(Reader& r) {
    AnswerMessage m;
    m.id = r.integer(8, "id");
    m.ok = r.boolean("ok");
    m.kind = ErrorKind(r.choice(kErrorLast, "kind"));
    m.message = r.text(kTextBytesMax, "message");
    return m;
}
Message read_receipt(Reader& r) {
    ReceiptMessage m;
    m.id = r.integer(8, "id");
    m.address = r.text(kTextBytesMax, "address");
    m.tls_spki_sha256 = r.text(kTextBytesMax, "tls_spki_sha256");
    m.outcome = r.text(kTextBytesMax, "outcome");
    for (std::int64_t* value : {&m.bytes_out, &m.bytes_in, &m.wire_bytes_out, &m.wire_bytes_in,
                                &m.opened_wall_ns, &m.closed_wall_ns})
        *value = r.signed64("count");
    m.rule = r.text(kNameBytesMax, "rule");
    m.digest_out = r.text(kNameBytesMax, "digest_out");
    m.key_id = r.text(kNameBytesMax, "key_id");
    m.signature = r.text(kNameBytesMax, "signature");
    m.number = r.signed64("number");
    return m;
}
Message read_ready(Reader& r) {
    ReadyMessage m;
    m.problem = r.text(kTextBytesMax, "problem");
    m.public_key = r.text(kTextBytesMax, "public key");
    return m;
}
Message read_checkpoint(Reader& r) {
    CheckpointMessage m;
    m.id = r.integer(8, "id");
    m.json = r.text(kCheckpointBytesMax, "checkpoint");
    return m;
}
Message read_signed(Reader& r) {
    SignedMessage m;
    m.id = r.integer(8, "id");
    m.ok = r.boolean("ok");
    m.kind = ErrorKind(r.choice(kErrorLast, "kind"));
    m.text = r.text(kCheckpointBytesMax, "signed checkpoint");
    return m;
}

}  // namespace

Result<std::string> encode(const Message& message) {
    if (const auto* list = std::get_if<AllowListMessage>(&message);
        list != nullptr && list->rules.size() > kRulesMax)
        return fail(ErrorKind::invalid_request,
                    format("egress: {} destinations are configured, at most {} are allowed",
                           list->rules.size(), kRulesMax));
    Writer writer;
    std::visit([&](const auto& m) { write(writer, m); }, message);
    return writer.finish(message.index());
}

Result<Message> decode(std::string_view bytes) {
    Reader r(bytes);
    if (r.integer(1, "version") != kVersion) r.wrong("version", "is not 1");
    const auto type = r.integer(1, "type");
    if (r.integer(2, "reserved bytes") != 0) r.wrong("reserved bytes", "are not zero");
    if (r.integer(4, "length") != r.left()) r.wrong("length", "is not that of the packet");
    Message message;
    if (!r.failed()) {
        switch (type) {
            case 1:
                message = read_allow_list(r);
                break;
            case 2:
                message = read_ready(r);
                break;
            case 3:
                message = read_request(r);
                break;
            case 4:
                message = read_answer(r);
                break;
            case 5:
                message = read_receipt(r);
                break;
            case 6:
                message = read_checkpoint(r);
                break;
            case 7:
                message = read_signed(r);
                break;
            case 8:
                message = FinishMessage{};
                break;
            default:
                r.wrong("type", "is unknown");
        }
    }
    if (!r.failed() && r.left() != 0) r.wrong("message", "has bytes left over");
    if (r.failed()) return fail(ErrorKind::internal, "egress control message: " + r.problem());
    return message;
}

void fill_receipt(Receipt& receipt, ReceiptMessage message) {
    receipt.rule = std::move(message.rule);
    receipt.address = std::move(message.address);
    receipt.tls_spki_sha256 = std::move(message.tls_spki_sha256);
    receipt.outcome = std::move(message.outcome);
    receipt.digest_out = std::move(message.digest_out);
    receipt.key_id = std::move(message.key_id);
    receipt.signature = std::move(message.signature);
    receipt.number = message.number;
    receipt.bytes_out = message.bytes_out;
    receipt.bytes_in = message.bytes_in;
    receipt.wire_bytes_out = message.wire_bytes_out;
    receipt.wire_bytes_in = message.wire_bytes_in;
    receipt.opened_wall_ns = message.opened_wall_ns;
    receipt.closed_wall_ns = message.closed_wall_ns;
}

std::string clip_text(std::string_view text) {
    std::string out = utf8_repaired(text.substr(0, kTextBytesMax / 3));  // U+FFFD is three bytes
    for (char& c : out)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    return out;
}

std::string errno_text(std::string_view what, int error) {
    return format("{}: {}", what, std::generic_category().message(error));
}

Result<bool> send_packet(int control, std::string_view bytes, int pass_fd) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (pass_fd >= 0) {
        header.msg_control = room;
        header.msg_controllen = sizeof(room);
        cmsghdr* rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(rights), &pass_fd, sizeof(int));
    }
    for (;;) {
        const ssize_t n = ::sendmsg(control, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) return true;
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS) return false;
        return fail(ErrorKind::internal, errno_text("egress control channel", errno));
    }
}

namespace {
// Takes every descriptor that came along, so that none can pile up; more than one is an error.
bool take_descriptors(msghdr& header, Fd& out) {
    std::size_t n_fd = 0;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < n; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            out = Fd(fd);  // closes the one before
            ++n_fd;
        }
    }
    return n_fd <= 1 && (header.msg_flags & MSG_CTRUNC) == 0;
}
}  // namespace

Result<Packet> receive_packet(int control) {
    Packet packet;
    packet.bytes.resize(kMessageBytesMax);
    iovec part{packet.bytes.data(), packet.bytes.size()};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = room;
    header.msg_controllen = sizeof(room);
    ssize_t n = 0;
    do {
        n = ::recvmsg(control, &header, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return fail(ErrorKind::internal, errno_text("egress control channel", errno));
    const bool fds_ok = take_descriptors(header, packet.fd);
    if (!fds_ok || (header.msg_flags & MSG_TRUNC) != 0)
        return fail(ErrorKind::internal, "egress control channel: a message is over its limits");
    packet.bytes.resize(std::size_t(n));
    return packet;
}

}  // namespace hearth::egress
