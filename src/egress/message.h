// The control channel between the main process and the broker: what its messages mean and how they
// look. One SOCK_SEQPACKET packet is one message, so there is no framing to get wrong.
//
//   byte 0      version, 1            (both ends are the same executable: no negotiation)
//   byte 1      type                  (MessageType)
//   bytes 2..3  zero
//   bytes 4..7  n, u32, little endian: bytes that follow; the packet has exactly 8 + n
//   then the fields in the order of the structs: integers little endian of their width, bool and
//   enums one byte, texts u16 length + bytes, lists u16 count + elements.
//
// Decoding is strict: unknown types, lengths over egress/limits.h, bytes left over and enum values
// out of range are errors, so whatever decodes encodes to the same bytes again (the fuzzer's
// oracle). A request travels with exactly one descriptor (SCM_RIGHTS), every other message with
// none.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "egress/door.h"
#include "egress/permit.h"

namespace hearth::egress {

// main → broker, first and once.
struct AllowListMessage {
    std::vector<AllowRule> rules = {};
    std::string folder = {};  // of the broker's key and counters; empty: in memory
};
// broker → main, once: it is confined and obeys the list from now on.
struct ReadyMessage {
    std::string problem = {};     // empty: none
    std::string public_key = {};  // hex; empty where there is a problem
};
// main → broker
struct RequestMessage {
    std::uint64_t id = 0;
    Purpose purpose = Purpose::inference;
    Destination destination;
    std::string request_id, rule;
    std::uint32_t timeout_ms = 0;
    std::string who = {};
};
// broker → main, once per request, before the receipt.
struct AnswerMessage {
    std::uint64_t id = 0;
    bool ok = false;
    ErrorKind kind = ErrorKind::internal;  // not ok only
    std::string message;
};
// broker → main, once per request, last. The rest of a Receipt is what the request said.
struct ReceiptMessage {
    std::uint64_t id = 0;
    std::string address, tls_spki_sha256, outcome;
    std::int64_t bytes_out = 0, bytes_in = 0;
    std::int64_t wire_bytes_out = 0, wire_bytes_in = 0;
    std::int64_t opened_wall_ns = 0, closed_wall_ns = 0;
    std::string rule = {}, digest_out = {}, key_id = {}, signature = {};
    std::int64_t number = 0;
};
// main → broker: a journal's checkpoint to be signed, as audit::to_json() writes it.
struct CheckpointMessage {
    std::uint64_t id = 0;
    std::string json = {};
};
// broker → main, once per checkpoint.
struct SignedMessage {
    std::uint64_t id = 0;
    bool ok = false;
    ErrorKind kind = ErrorKind::internal;  // not ok only
    std::string text = {};                 // the signed checkpoint's JSON, or why there is none
};
// main → broker: end every connection now and open none; what is signed is signed still.
struct FinishMessage {};

using Message = std::variant<AllowListMessage, ReadyMessage, RequestMessage, AnswerMessage,
                             ReceiptMessage, CheckpointMessage, SignedMessage, FinishMessage>;

// The part of a receipt that its message carries.
void fill_receipt(Receipt& receipt, ReceiptMessage message);

// Errors: invalid_request where a field is over its limit.
Result<std::string> encode(const Message& message);
// Errors: internal, saying which field is wrong.
Result<Message> decode(std::string_view bytes);

// The first third of kTextBytesMax, because repairing what is not UTF-8 may make three bytes of
// one; control characters are replaced: it may quote what a server said.
std::string clip_text(std::string_view text);

// What came in one packet. An end of the channel is an empty packet without descriptor.
struct Packet {
    std::string bytes;
    Fd fd;
};
// Sends at once or not at all. False: the buffer is full now. Errors: internal (the peer is gone).
Result<bool> send_packet(int control, std::string_view bytes, int pass_fd = -1);
// Requires: control is readable or blocking. Errors: internal (too long, too many descriptors,
// connection lost).
Result<Packet> receive_packet(int control);

// "what: No such file or directory"
std::string errno_text(std::string_view what, int error);

}  // namespace hearth::egress
