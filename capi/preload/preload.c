/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * libinvar-preload.so.0: time slices for the locks of programs that know nothing of them. It stands in front of the C
 * library's functions of the same names, asks for time, and calls them; docs/run.md says what that means to a program.
 *
 * - A request is made before the attempt to take a lock, and taken back after the release of the last one that the thread
 *   holds. So locks may nest.
 * - The C library's function may sleep, and a request does not survive if another thread ran meanwhile. So it is made again
 *   with the lock in hand if it is gone.
 * - A condition variable waits without one.
 *
 * Every lock is the C library's, and so is each answer: nothing here looks into one. What is counted wrongly, as where one
 * thread releases what another one took, costs the benefit only.
 *
 * Where the time slice key is off, or the key of a group, the functions are withdrawn (withdraw.c).
 */
#define _GNU_SOURCE /* RTLD_NEXT, and the functions with a clock */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <invar.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <threads.h>
#include <unistd.h>

#include "withdraw.h"

/* glibc alone has these. What a program starts inherits the library, and another C library's loader (musl's) ends a program
 * if one of its symbols is missing. There it steps aside. */
#pragma weak dlvsym
#pragma weak gnu_get_libc_version
extern const char *gnu_get_libc_version(void);
extern int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *) __attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

/* glibc links this one into each library, with a reference that is not weak. */
int pthread_atfork(void (*before)(void), void (*parent)(void), void (*child)(void))
{
	if (__register_atfork)
		return __register_atfork(before, parent, child, &__dso_handle);

	__typeof__(&pthread_atfork) other = (__typeof__(other))dlsym(RTLD_NEXT, "pthread_atfork");

	return other ? other(before, parent, child) : ENOSYS;
}

#if IS_IN_FRONT

#define EXPORTED __attribute__((visibility("default")))
#define COLD __attribute__((cold, noinline))
#define NESTED __attribute__((noinline))
#define INLINE static inline __attribute__((always_inline))

/* What the machine has of its own: glibc's first version, and the functions of condition variables that it has there. On x86-64 each of
 * these has two versions, since glibc has changed condition variables in 2.3.2. On RISC-V glibc begins with 2.27. */
#ifdef __x86_64__
#define BASE "GLIBC_2.2.5"
#define CONDITIONS(F) \
	F(MUTEX, wait_2_2_5, "pthread_cond_wait", "GLIBC_2.2.5") \
	F(MUTEX, wait_2_3_2, "pthread_cond_wait", "GLIBC_2.3.2") \
	F(MUTEX, timedwait_2_2_5, "pthread_cond_timedwait", "GLIBC_2.2.5") \
	F(MUTEX, timedwait_2_3_2, "pthread_cond_timedwait", "GLIBC_2.3.2")
#else
#define BASE "GLIBC_2.27"
#define CONDITIONS(F) \
	F(MUTEX, pthread_cond_wait, "pthread_cond_wait", NULL) \
	F(MUTEX, pthread_cond_timedwait, "pthread_cond_timedwait", NULL)
#endif

/* What this library stands in front of: the group, the function here, and its name and version in the C library, NULL for the
 * newest. */
#define FUNCTIONS(F) \
	F(MUTEX, pthread_mutex_lock, "pthread_mutex_lock", NULL) \
	F(MUTEX, pthread_mutex_trylock, "pthread_mutex_trylock", NULL) \
	F(MUTEX, pthread_mutex_timedlock, "pthread_mutex_timedlock", NULL) \
	F(MUTEX, pthread_mutex_clocklock, "pthread_mutex_clocklock", NULL) \
	F(MUTEX, pthread_mutex_unlock, "pthread_mutex_unlock", NULL) \
	F(MUTEX, mtx_lock, "mtx_lock", NULL) \
	F(MUTEX, mtx_trylock, "mtx_trylock", NULL) \
	F(MUTEX, mtx_timedlock, "mtx_timedlock", NULL) \
	F(MUTEX, mtx_unlock, "mtx_unlock", NULL) \
	CONDITIONS(F) \
	F(MUTEX, pthread_cond_clockwait, "pthread_cond_clockwait", NULL) \
	F(MUTEX, cnd_wait, "cnd_wait", NULL) \
	F(MUTEX, cnd_timedwait, "cnd_timedwait", NULL) \
	F(MUTEX, __pthread_mutex_lock, "__pthread_mutex_lock", BASE) \
	F(MUTEX, __pthread_mutex_trylock, "__pthread_mutex_trylock", BASE) \
	F(MUTEX, __pthread_mutex_unlock, "__pthread_mutex_unlock", BASE) \
	F(SPIN, pthread_spin_lock, "pthread_spin_lock", NULL) \
	F(SPIN, pthread_spin_trylock, "pthread_spin_trylock", NULL) \
	F(SPIN, pthread_spin_unlock, "pthread_spin_unlock", NULL) \
	F(RWLOCK, pthread_rwlock_rdlock, "pthread_rwlock_rdlock", NULL) \
	F(RWLOCK, pthread_rwlock_tryrdlock, "pthread_rwlock_tryrdlock", NULL) \
	F(RWLOCK, pthread_rwlock_timedrdlock, "pthread_rwlock_timedrdlock", NULL) \
	F(RWLOCK, pthread_rwlock_clockrdlock, "pthread_rwlock_clockrdlock", NULL) \
	F(RWLOCK, pthread_rwlock_wrlock, "pthread_rwlock_wrlock", NULL) \
	F(RWLOCK, pthread_rwlock_trywrlock, "pthread_rwlock_trywrlock", NULL) \
	F(RWLOCK, pthread_rwlock_timedwrlock, "pthread_rwlock_timedwrlock", NULL) \
	F(RWLOCK, pthread_rwlock_clockwrlock, "pthread_rwlock_clockwrlock", NULL) \
	F(RWLOCK, pthread_rwlock_unlock, "pthread_rwlock_unlock", NULL) \
	F(RWLOCK, __pthread_rwlock_rdlock, "__pthread_rwlock_rdlock", BASE) \
	F(RWLOCK, __pthread_rwlock_tryrdlock, "__pthread_rwlock_tryrdlock", BASE) \
	F(RWLOCK, __pthread_rwlock_wrlock, "__pthread_rwlock_wrlock", BASE) \
	F(RWLOCK, __pthread_rwlock_trywrlock, "__pthread_rwlock_trywrlock", BASE) \
	F(RWLOCK, __pthread_rwlock_unlock, "__pthread_rwlock_unlock", BASE)

#ifdef __x86_64__
EXPORTED int wait_2_2_5(pthread_cond_t *, pthread_mutex_t *);
EXPORTED int wait_2_3_2(pthread_cond_t *, pthread_mutex_t *);
EXPORTED int timedwait_2_2_5(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
EXPORTED int timedwait_2_3_2(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
__asm__(".symver wait_2_2_5, pthread_cond_wait@GLIBC_2.2.5");
__asm__(".symver wait_2_3_2, pthread_cond_wait@@GLIBC_2.3.2");
__asm__(".symver timedwait_2_2_5, pthread_cond_timedwait@GLIBC_2.2.5");
__asm__(".symver timedwait_2_3_2, pthread_cond_timedwait@@GLIBC_2.3.2");
#endif

/* The second names of some, by which programs called them that were linked against glibc before 2.34. */
EXPORTED int __pthread_mutex_lock(pthread_mutex_t *), __pthread_mutex_trylock(pthread_mutex_t *);
EXPORTED int __pthread_mutex_unlock(pthread_mutex_t *);
EXPORTED int __pthread_rwlock_rdlock(pthread_rwlock_t *), __pthread_rwlock_tryrdlock(pthread_rwlock_t *);
EXPORTED int __pthread_rwlock_wrlock(pthread_rwlock_t *), __pthread_rwlock_trywrlock(pthread_rwlock_t *);
EXPORTED int __pthread_rwlock_unlock(pthread_rwlock_t *);

/* What can be asked for alone: keys of these names, which settings can turn off. */
enum group { MUTEX, SPIN, RWLOCK };

static void probe_group(struct invar_verdict *verdict)
{
	struct invar_verdict slice;

	if (!gnu_get_libc_version) {
		invar_evidence(verdict, "the C library is not glibc");
		return;
	}
	verdict->value = invar_key("slice", &slice, sizeof slice) == INVAR_OK && slice.value;
	invar_evidence(verdict,
		       verdict->value ? "the time slice key is on" : "the time slice key is off: calls go to the C library");
}
INVAR_KEY(preload_mutex, probe_group);
INVAR_KEY(preload_spin, probe_group);
INVAR_KEY(preload_rwlock, probe_group);

static bool is_on(enum group group)
{
	switch (group) {
	case MUTEX:
		return invar_value(preload_mutex);
	case SPIN:
		return invar_value(preload_spin);
	default:
		return invar_value(preload_rwlock);
	}
}

/* Whether sections are counted by site (INVAR_SLICE=profile). */
static bool is_profiled(void)
{
	struct invar_verdict counting;

	return invar_key("slice.counting", &counting, sizeof counting) == INVAR_OK && counting.value == 2;
}

#define INDEX(group, own, name, version) AT_##own,
enum { FUNCTIONS(INDEX) COUNT };

#define FUNCTION(group, own, name, version) { name, version, (void *)(own), group },
static const struct {
	const char *name, *version;
	void *own;
	enum group group;
} functions[COUNT] = { FUNCTIONS(FUNCTION) };

/* The functions behind them. The constructor finds them; those that constructors of libraries call before find themselves first. */
static void *known[COUNT];

/* Where the C library has no such function, as an older one, nobody is told of one here; a call gets what a system call would. */
static int missing(void)
{
	return ENOSYS;
}

COLD static void *find(size_t at)
{
	const char *name = functions[at].name, *version = functions[at].version;
	void *found = version && dlvsym ? dlvsym(RTLD_NEXT, name, version) : dlsym(RTLD_NEXT, name);

	found = found ? found : (void *)missing;
	__atomic_store_n(&known[at], found, __ATOMIC_RELAXED);
	return found;
}

/* Read as a pointer of the GOT is: one aligned word, which leads somewhere right at any time. */
#define BEHIND(own) ((__typeof__(&(own)))known[AT_##own])
/* What stands there until it is found. */
#define FIRST(own, parameters, arguments) \
	COLD static int first_##own parameters \
	{ \
		return ((__typeof__(&(own)))find(AT_##own))arguments; \
	}

/* How many locks the thread holds, and one more while it attempts to take one; FREE with none. From there on it has made a request.
 * So the path of a lock that is taken alone is an addition whose carry says so, and that of its release a subtraction. A thread that
 * released more than it took is below FREE, and counts from there again with its next lock. A STRANGER, and what is near, has taken
 * none since the library was loaded.
 * Threads have this at once when they begin: the library comes with the program, so the model is the program's too. */
#define FREE UINT_MAX
#define STRANGER (UINT_MAX / 4 * 3)
static __thread __attribute__((tls_model("initial-exec"))) unsigned locks = STRANGER;

#ifdef __x86_64__

#define STEP(instruction) \
	({ \
		bool carry; \
		__asm__ volatile(instruction " $1, %0" : "+m"(locks), "=@ccc"(carry)); \
		carry; \
	})

/* Counts one more; whether it is the only one. */
INLINE bool is_first(void)
{
	return STEP("addl");
}

/* Counts one less; whether none is left. */
INLINE bool was_last(void)
{
	return STEP("subl");
}

#else

/* The same without a carry. A signal's handler may run between the load and the store: it releases what it takes, and so leaves the
 * count as it was; or as a STRANGER's first lock leaves it, and then the thread is enrolled once more, which changes nothing. */
INLINE bool is_first(void)
{
	return ++locks == FREE + 1;
}

INLINE bool was_last(void)
{
	return locks-- == FREE + 1;
}

#endif

static bool holds_any(void)
{
	return (int)locks >= 0;
}

/* Whether any function here is to ask for time. Before the constructor it is not known. */
static bool asks;

#ifdef __x86_64__

/* Whether the thread's area has anything in so many bytes from there. */
#define AREA_HAS(size, offset) \
	({ \
		bool any; \
		__asm__ volatile("cmp" size " $0, %%fs:" #offset "(%1)" \
				 : "=@ccne"(any) \
				 : "r"((intptr_t)(int32_t)invar_slice.data) \
				 : "memory"); \
		any; \
	})

INLINE bool is_requested(void)
{
	return AREA_HAS("b", 28);
}

/* The kernel writes both at once. */
INLINE bool is_requested_or_granted(void)
{
	return AREA_HAS("w", 28);
}

/* What a thread does that waits without a sleep. */
#define PAUSE() __builtin_ia32_pause()

#else

INLINE volatile unsigned char *request_byte(void)
{
	return invar2_request_((int32_t)invar_slice.data);
}

INLINE bool is_requested(void)
{
	return *request_byte();
}

/* In one load, as the kernel writes both at once. An area is aligned to 32 bytes (Linux, include/uapi/linux/rseq.h). */
INLINE bool is_requested_or_granted(void)
{
	return *(const volatile uint16_t *)request_byte();
}

/* The hint `pause`, by its bits: assemblers know its name with Zihintpause only, and CPUs without that execute it as a fence that
 * orders nothing (The RISC-V Instruction Set Manual, Volume I, "Zihintpause"). */
#define PAUSE() __asm__ volatile(".4byte 0x0100000f" : : : "memory")

#endif

/* The address behind the call of the exported function that this stands in, also by an inlined one. It is read there and not
 * before, as few paths need it. */
#define CALLER \
	({ \
		void *caller = __builtin_return_address(0); \
		__asm__ volatile("" : "+r"(caller)); \
		caller; \
	})

/* As invar_slice_enter; where it is counted, or not bound, it does this in place of the request. */
#define ENTER_OR(otherwise) INVAR_SLICE_SITE_(2, otherwise)

/* The request of what called: each place that calls a function here is counted for itself. */
COLD static void request(void *caller)
{
	if (!INVAR_LOADED_(&invar_slice, 1))
		return;
	if (INVAR_IS_COUNTED_())
		invar_count_request(caller);
	else
		invar2_slice_request_();
}

/* Makes the request in one of the unusual ways. A thread that takes its first lock is enrolled, as
 * others may wait for it even if it never waits itself. Where that fails, requests have no effect in this thread. */
COLD static void begin_anew(void *caller)
{
	if (!asks)
		return;
	if (locks < STRANGER + STRANGER / 8)
		invar_slice_enrol();
	locks = 0;
	request(caller);
}

/* Behind is_first(), where it is not, or where the request is not one store: nothing, where the lock is nested. */
INLINE void begin_otherwise(void *caller)
{
	if (__builtin_expect((int)locks <= 0, 0))
		begin_anew(caller);
}

/* After the release of a lock, or an attempt that failed. */
INLINE void end(void)
{
	if (__builtin_expect(was_last(), 1))
		invar_slice_leave();
}

/* In functions of their own, so that there are few sites that are hardly ever come to. */
COLD static int gave_up(int result)
{
	end();
	return result;
}

COLD static int renew(int result, void *caller)
{
	if (holds_any()) {
		invar_slice_leave(); /* the section that was lost ends, where sections are counted */
		request(caller);
	}
	return result;
}

/* Returns what the attempt gave. A robust mutex whose owner died is taken as well. A thread that slept or was preempted has no request
 * any more, and makes it again; but not on top of a grant, for which a strict kernel would kill at the next system call. `caller` is
 * not read unless it is needed. */
#define RETURN_ATTEMPTED(attempt, caller) \
	do { \
		int result = attempt; \
\
		if (__builtin_expect(result && result != EOWNERDEAD, 0)) \
			return gave_up(result); \
		if (__builtin_expect(!is_requested_or_granted(), 0)) \
			return renew(result, caller); \
		return result; \
	} while (0)

INLINE int released(int result)
{
	if (__builtin_expect(result == 0, 1))
		end();
	return result;
}

#define LIST(...) __VA_ARGS__
#define GO_OTHERWISE() goto otherwise

/* What is not the path of a lock that is taken alone has a function of its own, so that nothing need be kept on that path. */
#define TAKES(name, parameters, arguments) \
	FIRST(name, parameters, arguments) \
	NESTED static int otherwise_##name(void *caller, LIST parameters) \
	{ \
		begin_otherwise(caller); \
		RETURN_ATTEMPTED(BEHIND(name) arguments, caller); \
	} \
	EXPORTED int name parameters \
	{ \
		if (__builtin_expect(!is_first(), 0)) \
			goto otherwise; \
		ENTER_OR(GO_OTHERWISE); \
		RETURN_ATTEMPTED(BEHIND(name) arguments, CALLER); \
	otherwise: \
		return otherwise_##name(CALLER, LIST arguments); \
	}
#define RELEASES(name, type) \
	FIRST(name, (type * lock), (lock)) \
	EXPORTED int name(type *lock) \
	{ \
		return released(BEHIND(name)(lock)); \
	}

TAKES(pthread_mutex_lock, (pthread_mutex_t *lock), (lock))
TAKES(pthread_mutex_trylock, (pthread_mutex_t *lock), (lock))
TAKES(pthread_mutex_timedlock, (pthread_mutex_t *lock, const struct timespec *until), (lock, until))
TAKES(pthread_mutex_clocklock, (pthread_mutex_t *lock, clockid_t clock, const struct timespec *until), (lock, clock, until))
RELEASES(pthread_mutex_unlock, pthread_mutex_t)
TAKES(__pthread_mutex_lock, (pthread_mutex_t *lock), (lock))
TAKES(__pthread_mutex_trylock, (pthread_mutex_t *lock), (lock))
RELEASES(__pthread_mutex_unlock, pthread_mutex_t)

TAKES(mtx_lock, (mtx_t *lock), (lock))
TAKES(mtx_trylock, (mtx_t *lock), (lock))
TAKES(mtx_timedlock, (mtx_t *restrict lock, const struct timespec *restrict until), (lock, until))
RELEASES(mtx_unlock, mtx_t)

TAKES(pthread_rwlock_rdlock, (pthread_rwlock_t *lock), (lock))
TAKES(pthread_rwlock_tryrdlock, (pthread_rwlock_t *lock), (lock))
TAKES(pthread_rwlock_timedrdlock, (pthread_rwlock_t *lock, const struct timespec *until), (lock, until))
TAKES(pthread_rwlock_clockrdlock, (pthread_rwlock_t *lock, clockid_t clock, const struct timespec *until), (lock, clock, until))
TAKES(pthread_rwlock_wrlock, (pthread_rwlock_t *lock), (lock))
TAKES(pthread_rwlock_trywrlock, (pthread_rwlock_t *lock), (lock))
TAKES(pthread_rwlock_timedwrlock, (pthread_rwlock_t *lock, const struct timespec *until), (lock, until))
TAKES(pthread_rwlock_clockwrlock, (pthread_rwlock_t *lock, clockid_t clock, const struct timespec *until), (lock, clock, until))
RELEASES(pthread_rwlock_unlock, pthread_rwlock_t)
TAKES(__pthread_rwlock_rdlock, (pthread_rwlock_t *lock), (lock))
TAKES(__pthread_rwlock_tryrdlock, (pthread_rwlock_t *lock), (lock))
TAKES(__pthread_rwlock_wrlock, (pthread_rwlock_t *lock), (lock))
TAKES(__pthread_rwlock_trywrlock, (pthread_rwlock_t *lock), (lock))
RELEASES(__pthread_rwlock_unlock, pthread_rwlock_t)

TAKES(pthread_spin_trylock, (pthread_spinlock_t *lock), (lock))
RELEASES(pthread_spin_unlock, pthread_spinlock_t)

/* Looks between two attempts, as often as that. */
#define SPINS 50

/* Its own is never called, and withdraw.c leads to it. */
FIRST(pthread_spin_lock, (pthread_spinlock_t *lock), (lock))

/* The C library's waiters never sleep, so a thread that was granted time would use it up by waiting for one that is preempted.
 * So it waits here, without a request: the end of one that was granted gives the CPU away. */
COLD static int spin(void *caller, pthread_spinlock_t *lock)
{
	int busy;

	do {
		end();
		for (int spins = 0; spins < SPINS; spins++)
			PAUSE();
		is_first();
		begin_otherwise(caller);
		busy = BEHIND(pthread_spin_trylock)(lock);
	} while (busy == EBUSY);
	RETURN_ATTEMPTED(busy, caller);
}

NESTED static int otherwise_pthread_spin_lock(void *caller, pthread_spinlock_t *lock)
{
	begin_otherwise(caller);

	int busy = BEHIND(pthread_spin_trylock)(lock);

	if (busy == EBUSY)
		return spin(caller, lock);
	RETURN_ATTEMPTED(busy, caller);
}

EXPORTED int pthread_spin_lock(pthread_spinlock_t *lock)
{
	if (__builtin_expect(!is_first(), 0))
		goto otherwise;
	ENTER_OR(GO_OTHERWISE);

	int busy = BEHIND(pthread_spin_trylock)(lock);

	if (__builtin_expect(busy == EBUSY, 0))
		return spin(CALLER, lock);
	RETURN_ATTEMPTED(busy, CALLER);
otherwise:
	return otherwise_pthread_spin_lock(CALLER, lock);
}

/* A thread that waits on a condition variable. */
struct waiting {
	/* What it holds, the mutex that it waits with among them. */
	unsigned locks;
	/* Its section has not ended: time was granted, or the request was lost. */
	bool open;
};

/* Takes the request back. Where time was granted it does not give the CPU away at once, with the mutex in hand: to wait does. */
INLINE struct waiting suspend(void)
{
	struct waiting waiting = { locks, holds_any() && !is_requested() };

	if (holds_any()) {
		if (!waiting.open)
			invar_slice_leave();
		locks = FREE;
	}
	return waiting;
}

#define REQUEST_OF_CALLER() request(CALLER)

/* Makes it again, with the mutex in hand. Of a thread that is cancelled while it waits this is not called: what its cleanup
 * handlers release is not counted, and they run without a request. */
INLINE int resume(struct waiting waiting, int result)
{
	if (waiting.open)
		invar_slice_leave();
	/* Then the mutex is not taken again. */
	if (result == ENOTRECOVERABLE && (int)waiting.locks >= 0)
		waiting.locks--;
	locks = waiting.locks;
	if (holds_any())
		ENTER_OR(REQUEST_OF_CALLER);
	return result;
}

#define WAITS(name, parameters, arguments) \
	FIRST(name, parameters, arguments) \
	EXPORTED int name parameters \
	{ \
		struct waiting waiting = suspend(); \
\
		return resume(waiting, BEHIND(name) arguments); \
	}

#ifdef __x86_64__
WAITS(wait_2_2_5, (pthread_cond_t *condition, pthread_mutex_t *lock), (condition, lock))
WAITS(wait_2_3_2, (pthread_cond_t *condition, pthread_mutex_t *lock), (condition, lock))
WAITS(timedwait_2_2_5, (pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *until), (condition, lock, until))
WAITS(timedwait_2_3_2, (pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *until), (condition, lock, until))
#else
WAITS(pthread_cond_wait, (pthread_cond_t *condition, pthread_mutex_t *lock), (condition, lock))
WAITS(pthread_cond_timedwait, (pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *until), (condition, lock, until))
#endif
WAITS(pthread_cond_clockwait, (pthread_cond_t *condition, pthread_mutex_t *lock, clockid_t clock, const struct timespec *until),
      (condition, lock, clock, until))
WAITS(cnd_wait, (cnd_t *condition, mtx_t *lock), (condition, lock))
WAITS(cnd_timedwait, (cnd_t *restrict condition, mtx_t *restrict lock, const struct timespec *restrict until),
      (condition, lock, until))

#define FIRST_OF(group, own, name, version) (void *)first_##own,
static void *known[COUNT] = { FUNCTIONS(FIRST_OF) };

/* The variable by which `invar run --own-rseq` says what stood in the place of its tunable before; as the C library has it, so
 * that nothing need be allocated: its value is the whole entry, and empty where there was none. */
#define BEFORE "_INVAR_BEFORE="
#define TUNABLES "GLIBC_TUNABLES="

/* Gives the environment back that the program would have had, for the program and its children. It is a copy, and followed by
 * what the kernel has put behind the environment (struct auxv): some programs look for that there. Those that have the
 * kernel's own list, as Go's runtime, find empty entries in it. If there is no memory, children inherit both variables. */
static void restore_environment(void)
{
	static char nothing[] = "";
	ElfW(auxv_t) auxiliary[64] = { { AT_NULL, { 0 } } };
	size_t count = 0, before = SIZE_MAX, to = 0;

	for (; environ && environ[count]; count++)
		if (before == SIZE_MAX && !strncmp(environ[count], BEFORE, strlen(BEFORE)))
			before = count;
	if (before == SIZE_MAX)
		return;
	int file = open("/proc/self/auxv", O_RDONLY | O_CLOEXEC);
	ssize_t size = file < 0 ? 0 : read(file, auxiliary, sizeof auxiliary - sizeof *auxiliary);
	size_t size_before = (count + 1) * sizeof *environ;
	char *entry = environ[before] + strlen(BEFORE);

	if (file >= 0)
		close(file);
	char **copy = mmap(NULL, size_before + sizeof auxiliary, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (copy == MAP_FAILED)
		return;
	environ[before] = nothing;
	for (size_t at = 0; at < count; at++) {
		if (!strncmp(environ[at], TUNABLES, strlen(TUNABLES)))
			environ[at] = *entry ? entry : nothing;
		if (environ[at] != nothing)
			copy[to++] = environ[at];
	}
	/* The mapping's zeros end both lists. */
	memcpy(copy + to + 1, auxiliary, size > 0 ? (size_t)size : 0);
	environ = copy;
}

/* Makes a module known to who reads the counts. */
static int count_module(struct dl_phdr_info *module, size_t size, void *unused)
{
	uintptr_t from = UINTPTR_MAX, to = 0;
	char program[PATH_MAX];
	const char *path = module->dlpi_name;

	(void)size, (void)unused;
	for (int at = 0; at < module->dlpi_phnum; at++) {
		const ElfW(Phdr) *header = &module->dlpi_phdr[at];
		uintptr_t begin = module->dlpi_addr + header->p_vaddr, end = begin + header->p_memsz;

		if (header->p_type != PT_LOAD)
			continue;
		from = begin < from ? begin : from;
		to = end > to ? end : to;
	}
	if (!*path) {
		ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);

		program[length < 0 ? 0 : length] = 0;
		path = program;
	}
	if (from < to)
		invar_count_module((void *)from, (void *)to, path);
	return 0;
}

/* And at the end, for libraries that were opened since. */
__attribute__((destructor)) static void count_modules(void)
{
	if (is_profiled())
		dl_iterate_phdr(count_module, NULL);
}

/* Behind that of the header, which has decided the keys. */
__attribute__((constructor(101))) static void load(void)
{
	struct replacement off[COUNT];
	size_t count = 0;
	int error;

	restore_environment();
	for (size_t at = 0; at < COUNT; at++) {
		void *found = find(at);

		if (!is_on(functions[at].group) || found == (void *)missing)
			off[count++] = (struct replacement){ functions[at].own, found == (void *)missing ? NULL : found };
		else
			asks = true;
	}
	count_modules();
	error = withdraw(off, count);
	if (error)
		dprintf(STDERR_FILENO, "invar: calls pass through libinvar-preload, which cannot step aside: %s\n", strerror(error));
}

#endif
