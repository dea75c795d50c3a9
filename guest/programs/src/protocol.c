/*
 * The slice protocol by hand, as a careful C programmer writes it today: what invar's sites are measured against.
 * Source of every number: Linux 7.0, include/uapi/linux/rseq.h and include/uapi/linux/prctl.h.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PR_RSEQ_SLICE_EXTENSION 79
#define PR_SET 2
#define PR_ENABLE 1
#define SYS_RSEQ_SLICE_YIELD 471
/* As glibc has it, sysdeps/unix/sysv/linux/.../bits/rseq.h. */
#ifdef __riscv
#define SIGNATURE 0xf1401073
#else
#define SIGNATURE 0x53053053
#endif

struct area {
    uint32_t cpu_id_start, cpu_id;
    uint64_t rseq_cs;
    uint32_t flags, node_id, mm_cid;
    volatile uint8_t request, granted;
    uint8_t reserved[34];
} __attribute__((aligned(64)));

_Static_assert(offsetof(struct area, request) == 28 && sizeof(struct area) == 64, "as the kernel has it");

/* What glibc says of its own area. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

/* For threads that the C library registered no area for. */
static _Thread_local struct area own;

/* Makes the calling thread one that can be granted slices. Null if it cannot. */
static struct area *enrol(void)
{
    struct area *area = &own;
    if (&__rseq_size && __rseq_size > 0)
        area = (struct area *)((char *)__builtin_thread_pointer() + __rseq_offset);
    else if (syscall(SYS_rseq, area, sizeof *area, 0, SIGNATURE))
        return NULL;
    return prctl(PR_RSEQ_SLICE_EXTENSION, PR_SET, PR_ENABLE, 0, 0) ? NULL : area;
}

#define barrier() __asm__ volatile("" ::: "memory")

/*
 * Enters sections until told to stop; returns in how many of them there was something done, or -1.
 */
int64_t protocol_contend(bool (*section)(void *), void *lock, const volatile bool *stop)
{
    struct area *area = enrol();
    if (!area)
        return -1;
    int64_t operations = 0;
    while (!*stop) {
        area->request = 1;
        barrier();
        bool done = section(lock);
        barrier();
        area->request = 0;
        if (area->granted)
            syscall(SYS_RSEQ_SLICE_YIELD);
        if (!done)
            sched_yield();
        operations += done;
    }
    return operations;
}
