/* HEARTH_SANITIZED: 1 in builds with the address or thread sanitizer, whichever compiler. Such builds
 * bring their own allocator and run thirty times slower. */
#ifndef HEARTH_BASE_SANITIZED_H
#define HEARTH_BASE_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) /* GCC */
#define HEARTH_SANITIZED 1
#elif defined(__has_feature) /* clang */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HEARTH_SANITIZED 1
#endif
#endif
#ifndef HEARTH_SANITIZED
#define HEARTH_SANITIZED 0
#endif

#endif
