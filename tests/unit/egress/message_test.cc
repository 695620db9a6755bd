// Control messages: what is written is read back, and nothing else is accepted. The fuzzer
// fuzz_broker_message.cc runs the same oracle for longer.
#include "egress/message.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <random>

#include "egress/limits.h"
#include "support/seeds.h"

namespace hearth::egress {
namespace {

std::vector<Message> samples() {
    AllowListMessage list;
    list.rules.push_back({.destination = {"api.example.com", 443, true},
                          .purpose = Purpose::inference,
                          .name = "upstream acme",
                          .ca_file = "/etc/ca.pem"});
    list.rules.push_back({.destination = {"::1", 65535, false}, .purpose = Purpose::telemetry});
    return {list,
            AllowListMessage{},
            ReadyMessage{},
            ReadyMessage{"no seccomp"},
            ReadyMessage{"", std::string(64, 'f')},
            AllowListMessage{{}, "/var/lib/hearth-broker"},
            RequestMessage{7, Purpose::download, {"h", 1, false}, "req-1", "rule", 5000, "key_1"},
            AnswerMessage{1, true, ErrorKind::internal, ""},
            AnswerMessage{UINT64_MAX, false, ErrorKind::timeout, "too slow"},
            ReceiptMessage{3, "1.2.3.4:443", std::string(64, 'a'), "closed", 1, -2, INT64_MAX,
                           INT64_MIN, 5, 6, "rule", std::string(64, 'd'), std::string(16, 'k'),
                           std::string(128, 's'), 9},
            CheckpointMessage{4, "{}"},
            SignedMessage{5, true, ErrorKind::internal, std::string(4096, 'j')},
            SignedMessage{6, false, ErrorKind::forbidden_by_policy, "it would go back"},
            FinishMessage{}};
}

TEST(ControlMessage, encoding_and_decoding_are_inverse) {
    for (const Message& message : samples()) {
        const auto bytes = encode(message);
        ASSERT_TRUE(bytes) << bytes.error().message;
        const auto back = decode(*bytes);
        ASSERT_TRUE(back) << back.error().message;
        EXPECT_EQ(back->index(), message.index());
        EXPECT_EQ(*encode(*back), *bytes);
    }
    const auto back = decode(*encode(samples()[0]));
    const auto& list = std::get<AllowListMessage>(*back);
    ASSERT_EQ(list.rules.size(), 2u);
    EXPECT_EQ(list.rules[0].destination, (Destination{"api.example.com", 443, true}));
    EXPECT_EQ(list.rules[0].name, "upstream acme");
    EXPECT_EQ(list.rules[0].ca_file, "/etc/ca.pem");
    EXPECT_EQ(list.rules[1].purpose, Purpose::telemetry);
}

TEST(ControlMessage, bytes_are_as_documented) {
    const auto bytes = encode(AnswerMessage{0x0102, true, ErrorKind::invalid_request, "ab"});
    const unsigned char expected[] = {1, 4, 0,   0,  14, 0, 0, 0,  // version, type, zero, length
                                      2, 1, 0,   0,  0,  0, 0, 0,  // id
                                      1, 0,                        // ok, kind
                                      2, 0, 'a', 'b'};             // text
    ASSERT_EQ(bytes->size(), sizeof(expected));
    EXPECT_EQ(std::memcmp(bytes->data(), expected, sizeof(expected)), 0);
}

TEST(ControlMessage, every_cut_and_every_extension_is_refused) {
    for (const Message& message : samples()) {
        const std::string bytes = *encode(message);
        for (std::size_t n = 0; n < bytes.size(); ++n)
            EXPECT_FALSE(decode(bytes.substr(0, n))) << n << " of " << bytes.size();
        EXPECT_FALSE(decode(bytes + '\0'));
    }
}

TEST(ControlMessage, changed_bytes_decode_to_themselves_or_not_at_all) {
    std::mt19937 random(test::test_seed());
    int n_decoded = 0;
    for (int i = 0; i < 20000; ++i) {
        const auto all = samples();
        std::string bytes = *encode(all[random() % all.size()]);
        for (unsigned k = random() % 4 + 1; k > 0; --k)
            bytes[random() % bytes.size()] = char(random());
        const auto message = decode(bytes);
        if (!message) continue;
        ++n_decoded;
        const auto again = encode(*message);
        ASSERT_TRUE(again) << again.error().message;
        ASSERT_EQ(*again, bytes);
    }
    EXPECT_GT(n_decoded, 100);  // otherwise the loop shows nothing
}

TEST(ControlMessage, fields_over_their_limit_are_refused_on_the_way_out) {
    const auto kind = [](const Message& m) {
        const auto bytes = encode(m);
        return bytes ? std::string("encoded") : bytes.error().message;
    };
    const Destination ok{"h", 1, false};
    EXPECT_NE(
        kind(RequestMessage{1, {}, {std::string(254, 'a'), 1, false}, "", "", 1}).find("host"),
        std::string::npos);
    EXPECT_NE(kind(RequestMessage{1, {}, {"h", 0, false}, "", "", 1}).find("port"),
              std::string::npos);
    EXPECT_NE(kind(RequestMessage{1, {}, {"h", 70000, false}, "", "", 1}).find("port"),
              std::string::npos);
    EXPECT_NE(kind(RequestMessage{1, {}, ok, std::string(129, 'r'), "", 1}).find("request id"),
              std::string::npos);
    EXPECT_NE(kind(RequestMessage{1, {}, ok, "", std::string(70000, 'r'), 1}).find("rule"),
              std::string::npos);
    AllowListMessage many;
    many.rules.resize(kRulesMax + 1, AllowRule{.destination = ok});
    EXPECT_NE(kind(many).find("configured"), std::string::npos);
    AllowListMessage large;
    large.rules.resize(kRulesMax, AllowRule{.destination = ok, .ca_file = std::string(4000, 'c')});
    EXPECT_NE(kind(large).find("allow-list needs"), std::string::npos);
}

TEST(ControlMessage, the_largest_allow_list_fits_one_packet) {
    AllowListMessage list;
    for (std::size_t i = 0; i < kRulesMax; ++i)
        list.rules.push_back({.destination = {std::string(200, 'h'), 443, true},
                              .name = std::string(kNameBytesMax, 'n'),
                              .ca_file = std::string(200, 'c')});
    const auto bytes = encode(list);
    ASSERT_TRUE(bytes) << bytes.error().message;
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    const Fd a(pair[0]), b(pair[1]);
    const auto sent = send_packet(a.get(), *bytes);
    ASSERT_TRUE(sent && *sent);
    const auto packet = receive_packet(b.get());
    ASSERT_TRUE(packet);
    EXPECT_EQ(packet->bytes, *bytes);
}

TEST(ControlMessage, text_for_people_is_clipped_and_printable) {
    EXPECT_EQ(clip_text("a\r\nb\x1b[31m"), "a  b [31m");
    EXPECT_LE(clip_text(std::string(5000, '\xff')).size(), kTextBytesMax);
    EXPECT_LE(clip_text(std::string(5000, 'x')).size(), kTextBytesMax);
}

class Packets : public testing::Test {
  protected:
    void SetUp() override {
        int pair[2];
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
        a_ = Fd(pair[0]);
        b_ = Fd(pair[1]);
    }
    static int open_descriptors() {
        int n = 0;
        for (int fd = 0; fd < 256; ++fd) n += ::fcntl(fd, F_GETFD) != -1;
        return n;
    }
    Fd a_, b_;
};

TEST_F(Packets, a_descriptor_travels_along_and_closes_on_exec) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const Fd read_end(pipe[0]);
    const Fd write_end(pipe[1]);
    ASSERT_TRUE(send_packet(a_.get(), "x", write_end.get()));
    auto packet = receive_packet(b_.get());
    ASSERT_TRUE(packet && packet->fd);
    EXPECT_EQ(::fcntl(packet->fd.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ASSERT_EQ(::write(packet->fd.get(), "!", 1), 1);
    char byte = 0;
    ASSERT_EQ(::read(read_end.get(), &byte, 1), 1);
    EXPECT_EQ(byte, '!');
}

TEST_F(Packets, many_descriptors_are_an_error_and_none_stays_open) {
    const int before = open_descriptors();
    int numbers[8];
    for (int& fd : numbers) fd = a_.get();
    char byte = 'x';
    iovec part{&byte, 1};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof(numbers))] = {};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = room;
    header.msg_controllen = sizeof(room);
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(numbers));
    std::memcpy(CMSG_DATA(rights), numbers, sizeof(numbers));
    ASSERT_EQ(::sendmsg(a_.get(), &header, 0), 1);
    EXPECT_FALSE(receive_packet(b_.get()));
    EXPECT_EQ(open_descriptors(), before);
}

TEST_F(Packets, too_long_a_packet_is_an_error) {
    const int large = 1 << 20;
    ::setsockopt(a_.get(), SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
    const auto sent = send_packet(a_.get(), std::string(kMessageBytesMax + 1, 'x'));
    ASSERT_TRUE(sent && *sent);
    EXPECT_FALSE(receive_packet(b_.get()));
}

TEST_F(Packets, a_full_channel_says_so_and_a_closed_one_fails) {
    bool full = false;
    for (int i = 0; i < 100000 && !full; ++i) {
        const auto sent = send_packet(a_.get(), std::string(1000, 'x'));
        ASSERT_TRUE(sent);
        full = !*sent;
    }
    EXPECT_TRUE(full);
    b_.reset();
    EXPECT_FALSE(send_packet(a_.get(), "x"));
}

}  // namespace
}  // namespace hearth::egress
