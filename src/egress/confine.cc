// The filters. What seccomp cannot see, threads' capabilities and other processes' memory files, is
// in confine_threads.cc.
#include "egress/confine.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>
#include <memory>

#include "egress/message.h"

namespace hearth::egress {
namespace {

Status failed(const char* what, int error) {
    return fail(ErrorKind::internal, errno_text(what, error) +
                                         "; the privacy sandbox needs Linux 4.14 or newer with "
                                         "CONFIG_SECCOMP_FILTER");
}

// ---- filters

// The last system call of Linux 5.17, set_mempolicy_home_node; numbers from 424 on are the same on
// every architecture. glibc falls back when a newer one answers ENOSYS.
constexpr unsigned kLastKnownCall = 450;
// x32 calls (x86-64 with this bit set) are left to the other filter, which ends the process.
constexpr unsigned kX32Bit = 0x40000000;

Status load_range_filter() {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kX32Bit, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, kLastKnownCall, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };
    const sock_fprog program{sizeof(code) / sizeof(code[0]), code};
    if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        return failed("seccomp", errno);
    return {};
}

class Filter {
  public:
    Filter() : context_(seccomp_init(SCMP_ACT_ALLOW), seccomp_release) {
        if (!context_) {
            note(-ENOMEM);
            return;
        }
        // A call through another ABI (int 0x80, x32) has other numbers: none of ours make any.
        note(seccomp_attr_set(context_.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
        note(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_TSYNC, 1));
        note(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_NNP, 1));
        note(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2));  // binary search
    }
    void deny(std::initializer_list<int> calls, int error = EPERM) {
        // A negative number is a call that this architecture does not have.
        for (const int call : calls)
            if (call >= 0)
                note(seccomp_rule_add_array(context_.get(), SCMP_ACT_ERRNO(std::uint32_t(error)),
                                            call, 0, nullptr));
    }
    void deny_if(int call, std::initializer_list<scmp_arg_cmp> all) {
        if (call >= 0)
            note(seccomp_rule_add_array(context_.get(), SCMP_ACT_ERRNO(EPERM), call,
                                        unsigned(all.size()), all.begin()));
    }
    Status load() {
        if (error_ == 0) note(seccomp_load(context_.get()));
        if (error_ != 0) return failed("seccomp filter", -error_);
        return {};
    }

  private:
    void note(int result) {
        if (result < 0 && error_ == 0) error_ = result;
    }
    std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
    int error_ = 0;
};

// The kernel reads an int argument as 32 bits and ignores the rest of the register, so a comparison
// for denial must too: otherwise garbage in the upper half would pass.
scmp_arg_cmp int_is(unsigned arg, std::uint64_t value) {
    return {arg, SCMP_CMP_MASKED_EQ, 0xffffffffu, value & 0xffffffffu};
}
scmp_arg_cmp has_bit(unsigned arg, std::uint64_t bit) {
    return {arg, SCMP_CMP_MASKED_EQ, bit, bit};
}

// What neither process needs: other processes, other namespaces, the kernel's own machinery.
void deny_common(Filter& f) {
    f.deny({SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork)});
    f.deny({SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
            SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd), SCMP_SYS(pidfd_send_signal),
            SCMP_SYS(process_madvise), SCMP_SYS(process_mrelease), SCMP_SYS(kcmp)});
    f.deny({SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register)});
    f.deny({SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(mount), SCMP_SYS(umount2),
            SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(move_mount), SCMP_SYS(fsopen),
            SCMP_SYS(fsconfig), SCMP_SYS(fsmount), SCMP_SYS(fspick), SCMP_SYS(open_tree),
            SCMP_SYS(mount_setattr), SCMP_SYS(open_by_handle_at), SCMP_SYS(mknod),
            SCMP_SYS(mknodat)});
    f.deny({SCMP_SYS(bpf),
            SCMP_SYS(perf_event_open),
            SCMP_SYS(userfaultfd),
            SCMP_SYS(add_key),
            SCMP_SYS(request_key),
            SCMP_SYS(keyctl),
            SCMP_SYS(kexec_load),
            SCMP_SYS(kexec_file_load),
            SCMP_SYS(init_module),
            SCMP_SYS(finit_module),
            SCMP_SYS(delete_module),
            SCMP_SYS(personality),
            SCMP_SYS(memfd_create),
            SCMP_SYS(memfd_secret),
            SCMP_SYS(fanotify_init),
            SCMP_SYS(quotactl),
            SCMP_SYS(quotactl_fd),
            SCMP_SYS(swapon),
            SCMP_SYS(swapoff),
            SCMP_SYS(reboot),
            SCMP_SYS(acct),
            SCMP_SYS(syslog),
            SCMP_SYS(vhangup),
            SCMP_SYS(iopl),
            SCMP_SYS(ioperm),
            SCMP_SYS(modify_ldt),
            SCMP_SYS(settimeofday),
            SCMP_SYS(clock_settime),
            SCMP_SYS(adjtimex),
            SCMP_SYS(clock_adjtime),
            SCMP_SYS(lookup_dcookie),
            SCMP_SYS(ustat),
            SCMP_SYS(uselib)});
    // Message queues and shared memory of the system are ways to other programs of this user.
    f.deny({SCMP_SYS(msgget), SCMP_SYS(shmget), SCMP_SYS(semget), SCMP_SYS(mq_open)});
    // clone3 hides its flags behind a pointer; glibc falls back to clone. There only new threads
    // are allowed, in no new namespace.
    f.deny({SCMP_SYS(clone3)}, ENOSYS);
    f.deny_if(SCMP_SYS(clone), {{0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0}});
    for (const std::uint64_t flag : {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                     CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET})
        f.deny_if(SCMP_SYS(clone), {has_bit(0, flag)});
    // Typing into the terminal that started us: TIOCSTI, TIOCLINUX. Taking over a tap device that
    // someone left for this user: TUNSETIFF. Numbers of <asm-generic/ioctls.h>, <linux/if_tun.h>.
    for (const std::uint64_t request : {0x5412u, 0x541cu, 0x400454cau})
        f.deny_if(SCMP_SYS(ioctl), {int_is(1, request)});
}

void deny_network(Filter& f) {
    f.deny({SCMP_SYS(connect), SCMP_SYS(socket), SCMP_SYS(bind), SCMP_SYS(listen)});
    // An address in sendto reaches beyond the connection; so does fast open, which is a connect in
    // a send. sendmsg's address is behind a pointer: only sockets that ignore or refuse one remain,
    // see the socketpair rule.
    f.deny_if(SCMP_SYS(sendto), {{4, SCMP_CMP_NE, 0, 0}});
    f.deny_if(SCMP_SYS(sendto), {has_bit(3, MSG_FASTOPEN)});
    f.deny_if(SCMP_SYS(sendmsg), {has_bit(2, MSG_FASTOPEN)});
    f.deny_if(SCMP_SYS(sendmmsg), {has_bit(3, MSG_FASTOPEN)});
    // A datagram socketpair could send to any Unix datagram socket by address, and socketpair of
    // another family (TIPC) is a network socket. SOCK_RAW is datagram in AF_UNIX. So only streams
    // (1) and sequenced packets (5); the upper bits are SOCK_CLOEXEC and SOCK_NONBLOCK.
    f.deny_if(SCMP_SYS(socketpair), {{0, SCMP_CMP_NE, AF_UNIX, 0}});
    for (std::uint64_t type = 0; type < 16; ++type)
        if (type != SOCK_STREAM && type != SOCK_SEQPACKET)
            f.deny_if(SCMP_SYS(socketpair), {{1, SCMP_CMP_MASKED_EQ, 0xf, type}});
    // What would turn an accepted connection into one of our own: TCP_REPAIR and its queue, options
    // and window (19..22, 29), fast open (23, 30, 33, 34), another protocol on top (31).
    for (const std::uint64_t option : {19u, 20u, 21u, 22u, 23u, 29u, 30u, 31u, 33u, 34u})
        f.deny_if(SCMP_SYS(setsockopt), {int_is(1, IPPROTO_TCP), int_is(2, option)});
    for (const std::uint64_t level : {132u /* SCTP */, 284u /* MPTCP */})
        f.deny_if(SCMP_SYS(setsockopt), {int_is(1, level)});
}

Status load(bool is_main) {
    HEARTH_CHECK_OK(load_range_filter());
    Filter filter;
    deny_common(filter);
    if (is_main) {
        deny_network(filter);
    } else {
        filter.deny({SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4)});
    }
    return filter.load();
}

}  // namespace

Status hide_memory() {
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return failed("PR_SET_DUMPABLE", errno);
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);  // lowering a limit of our own cannot fail
    return {};
}

Status load_main_filter() {
    return load(true);
}
Status load_broker_filter() {
    return load(false);
}

}  // namespace hearth::egress
