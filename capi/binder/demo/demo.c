/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What a C library would do: a static program without one, begun by its own _start, binds itself before it has a thread pointer,
 * and then has threads contend for a lock of its own, whose holders ask for their time slice to be extended.
 *
 *	capi/binder/demo/build demo && ./demo			with an argument it says "ready" and waits for its input
 *
 * Numbers of Linux 7.0: include/uapi/linux/rseq.h, prctl.h, sched.h, futex.h, auxvec.h, arch/x86/include/uapi/asm/prctl.h.
 */
#include "binder.h"

enum { THREADS = 4, ROUNDS = 50000, TRIES = 100 };

/* A thread, as its pointer leads to it: the ABI wants the pointer itself there, and the area lies before it, at one distance in all. */
struct thread {
	struct {
		uint32_t cpu_id_start, cpu_id;
		uint64_t rseq_cs;
		uint32_t flags, node_id, mm_cid;
		uint8_t request, granted, rest[34];
	} __attribute__((aligned(64))) area;
	struct thread_pointer { void *self; } pointer;
	int id;				/* the kernel makes it 0, and wakes who waits, when the thread is gone */
	char stack[16384] __attribute__((aligned(16)));
};
static struct thread threads[THREADS + 1];

static long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return result;
}

static void say(const char *text)
{
	long length = 0;

	while (text[length])
		length++;
	call(1 /* write */, 1, (long)text, length, 0, 0);
}

static void say_number(const char *name, long number)
{
	char digits[24], *first = digits + sizeof digits;

	*--first = 0;
	*--first = '\n';
	do
		*--first = (char)('0' + number % 10);
	while (number /= 10);
	say(name);
	say("\t");
	say(first);
}

/* The probe. A C library would register its areas in any case, at the same place in each thread. */

static const char *why = "the kernel has no field for requests";
static int has_slices;

/* Registers the thread's area, and enables the extension. Needs no thread pointer. */
static int enrol(struct thread *thread)
{
	const volatile uint32_t *flags = &thread->area.flags;

	if (call(334 /* rseq */, (long)&thread->area, sizeof thread->area, 0, 0x53053053, 0))
		why = "the area cannot be registered";
	else if (call(157 /* prctl */, 79 /* PR_RSEQ_SLICE_EXTENSION */, 2 /* SET */, 1, 0, 0) || !(*flags & 0x20 /* ENABLED */))
		why = "the kernel does not enable the extension";
	else
		why = "the first thread is enrolled";
	return *flags & 0x20;
}

/* Other keys than the one for slices are none of a C library's business: they keep their first value. */
static void decide(struct invar_verdict *verdict, const struct invar_key_record *record)
{
	static const char slice[] = "slice";
	const char *name = (const char *)invar_at(&record->names);
	unsigned at;

	for (at = 0; at < sizeof slice; at++)
		if (name[at] != slice[at])
			return;
	verdict->value = has_slices != 0;
	verdict->data = (uint32_t)-(int)sizeof threads->area | 471ULL /* rseq_slice_yield */ << 32;
	invar_evidence(verdict, why);
}

/* The lock: 0 free, 1 taken, 2 taken and somebody may be asleep. The uncontended path looks at its word and at nothing else. */

static uint32_t word;

static void lock(void)
{
	unsigned tries;

	for (tries = 0; tries < TRIES; tries++) {
		uint32_t free = 0;

		invar_slice_enter();
		if (__atomic_compare_exchange_n(&word, &free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return;
		invar_slice_leave();
		__builtin_ia32_pause();
	}
	for (;;) {
		invar_slice_enter();
		if (__atomic_exchange_n(&word, 2, __ATOMIC_ACQUIRE) == 0)
			return;
		invar_slice_leave();
		call(202 /* futex */, (long)&word, 128 /* WAIT, PRIVATE */, 2, 0, 0);
	}
}

static void unlock(void)
{
	uint32_t was = __atomic_exchange_n(&word, 0, __ATOMIC_RELEASE);

	/* No system call before this. */
	invar_slice_leave();
	if (was == 2)
		call(202, (long)&word, 129 /* WAKE, PRIVATE */, 1, 0, 0);
}

static long sum;

__attribute__((noreturn, used)) static void work(void)
{
	struct thread *thread;
	unsigned round;

	__asm__("movq %%fs:0, %0" : "=r"(thread));
	thread = (struct thread *)((char *)thread - offsetof(struct thread, pointer));
	if (has_slices)
		enrol(thread);
	for (round = 0; round < ROUNDS; round++) {
		volatile unsigned step;

		lock();
		for (step = 0; step < 50; step++)
			;
		sum++;
		unlock();
	}
	for (;;)
		call(60 /* exit */, 0, 0, 0, 0, 0);
}

static void start_thread(struct thread *thread)
{
	/* CLONE_ VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID */
	long flags = 0x3d0f00, result;
	register long r10 __asm__("r10") = (long)&thread->id, r8 __asm__("r8") = (long)&thread->pointer;

	thread->pointer.self = &thread->pointer;
	__asm__ volatile("syscall\n\t"
			 "testq %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xorl %%ebp, %%ebp\n\t"
			 "call %c[work]\n"
			 "1:"
			 : "=a"(result)
			 : "0"(56L /* clone */), "D"(flags), "S"(thread->stack + sizeof thread->stack), "d"(&thread->id), "r"(r10), "r"(r8),
			   [work] "i"(work)
			 : "rcx", "r11", "memory");
	if (result < 0)
		say("clone is refused\n");
}

static void wait_for(struct thread *thread)
{
	int id;

	while ((id = __atomic_load_n(&thread->id, __ATOMIC_ACQUIRE)) != 0)
		call(202, (long)&thread->id, 0 /* WAIT */, id, 0, 0);
}

__attribute__((noreturn, used)) static void start(const long *stack)
{
	/* argc, the arguments and a null, the environment and a null, the auxiliary vector. */
	const long argc = stack[0], *entry = stack + argc + 2;
	struct invar_module module = { .base = 0 /* not relocated */, .writers = INVAR_WRITER_SWAP | INVAR_WRITER_MEMFD | INVAR_WRITER_MPROTECT, .one_thread = 1 };
	long thread_pointer = 0;
	unsigned at;

	while (*entry++)
		;
	for (; entry[0]; entry += 2)
		if (entry[0] == 3 /* AT_PHDR */)
			module.headers = (const void *)entry[1];
		else if (entry[0] == 5 /* AT_PHNUM */)
			module.count = (size_t)entry[1];
		else if (entry[0] == 31 /* AT_EXECFN */)
			module.path = (const char *)entry[1];
		else if (entry[0] == 27 /* AT_RSEQ_FEATURE_SIZE */ && entry[1] >= 33)
			has_slices = 1;
	has_slices = has_slices && enrol(threads);
	module.decide = decide;
	at = (unsigned)invar_bind(&module);
	call(158 /* arch_prctl */, 0x1003 /* ARCH_GET_FS */, (long)&thread_pointer, 0, 0, 0);
	threads->pointer.self = &threads->pointer;
	call(158, 0x1002 /* ARCH_SET_FS */, (long)&threads->pointer, 0, 0, 0);

	if (argc > 1) {
		say("ready\n");
		call(0 /* read */, 0, (long)threads[1].stack, 1, 0, 0);
		call(231 /* exit_group */, 0, 0, 0, 0, 0);
	}
	say(has_slices ? "slice\ton: " : "slice\toff: ");
	say(why);
	say("\n");
	say_number("binder", at);
	say_number("thread pointer meanwhile", thread_pointer);
	say_number("bound", module.outcome ? module.outcome->bound : 0);
	say_number("left", module.outcome ? module.outcome->left : 0);
	for (at = 1; at <= THREADS; at++)
		start_thread(threads + at);
	for (at = 1; at <= THREADS; at++)
		wait_for(threads + at);
	say_number("expected", (long)THREADS * ROUNDS);
	say_number("sum", sum);
	for (;;)
		call(231 /* exit_group */, sum != (long)THREADS * ROUNDS, 0, 0, 0, 0);
}

__asm__(".globl _start\n"
	"_start:\n\t"
	"xorl %ebp, %ebp\n\t"
	"movq %rsp, %rdi\n\t"
	"andq $-16, %rsp\n\t"
	"call start\n");
