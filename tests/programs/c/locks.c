/* Each function of POSIX and C11 that takes, releases or waits with a lock, in each case whose outcome the standards or glibc's
 * manual fix. Says a line for each case: its name, and what the calls returned. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/* One call after the other: gcc and clang evaluate the values of a list in their order. */
#define STEPS(name, ...) \
	do { \
		int results[] = { __VA_ARGS__ }; \
		printf("%s\t", name); \
		for (size_t at = 0; at < sizeof results / sizeof *results; at++) { \
			const char *text = results[at] ? strerrorname_np(results[at]) : "0"; \
			printf("%s%s", at ? " " : "", text ? text : "?"); \
		} \
		puts(""); \
		fflush(stdout); \
	} while (0)

static const struct timespec past = { 1, 0 }, invalid = { 1, 1000000000 };

static struct timespec soon(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	time.tv_nsec += 20000000;
	if (time.tv_nsec >= 1000000000) {
		time.tv_nsec -= 1000000000;
		time.tv_sec++;
	}
	return time;
}

/* Runs a call in another thread. */
struct call {
	int (*function)(void *);
	void *argument;
	int result;
};

static void *run_call(void *argument)
{
	struct call *call = argument;

	call->result = call->function(call->argument);
	return NULL;
}

static int elsewhere(int (*function)(void *), void *argument)
{
	struct call call = { function, argument, -1 };
	pthread_t thread;

	if (pthread_create(&thread, NULL, run_call, &call) || pthread_join(thread, NULL))
		abort();
	return call.result;
}

static int trylock(void *mutex)
{
	int result = pthread_mutex_trylock(mutex);

	if (!result)
		pthread_mutex_unlock(mutex);
	return result;
}

static int just_lock(void *mutex)
{
	return pthread_mutex_lock(mutex);
}

static int just_unlock(void *mutex)
{
	return pthread_mutex_unlock(mutex);
}

static pthread_mutex_t *mutex(int type, int robust, int protocol, int shared)
{
	pthread_mutex_t *mutex = mmap(NULL, sizeof *mutex, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, type);
	pthread_mutexattr_setrobust(&attributes, robust);
	pthread_mutexattr_setprotocol(&attributes, protocol);
	pthread_mutexattr_setpshared(&attributes, shared);
	if (mutex == MAP_FAILED || pthread_mutex_init(mutex, &attributes))
		abort();
	pthread_mutexattr_destroy(&attributes);
	return mutex;
}

static pthread_mutex_t *of_type(int type)
{
	return mutex(type, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE, PTHREAD_PROCESS_PRIVATE);
}

static pthread_mutex_t *robust(int type, int shared)
{
	return mutex(type, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE, shared);
}

static void mutexes(void)
{
	static const struct {
		const char *name;
		int type;
	} types[] = { { "normal", PTHREAD_MUTEX_NORMAL },
		      { "adaptive", PTHREAD_MUTEX_ADAPTIVE_NP },
		      { "errorcheck", PTHREAD_MUTEX_ERRORCHECK },
		      { "recursive", PTHREAD_MUTEX_RECURSIVE } };

	for (size_t at = 0; at < sizeof types / sizeof *types; at++)
		for (int protocol = PTHREAD_PRIO_NONE; protocol <= PTHREAD_PRIO_INHERIT; protocol++) {
			pthread_mutex_t *lock = mutex(types[at].type, PTHREAD_MUTEX_STALLED, protocol, PTHREAD_PROCESS_PRIVATE);

			printf("%s%s ", types[at].name, protocol ? " inheriting" : "");
			STEPS("mutex", pthread_mutex_lock(lock), elsewhere(trylock, lock), pthread_mutex_unlock(lock),
			      elsewhere(trylock, lock), pthread_mutex_trylock(lock), elsewhere(trylock, lock),
			      pthread_mutex_unlock(lock), pthread_mutex_destroy(lock));
		}

	pthread_mutex_t *lock = of_type(PTHREAD_MUTEX_RECURSIVE);

	STEPS("recursive", pthread_mutex_lock(lock), pthread_mutex_lock(lock), pthread_mutex_trylock(lock),
	      pthread_mutex_timedlock(lock, &past), elsewhere(trylock, lock), pthread_mutex_unlock(lock),
	      pthread_mutex_unlock(lock), pthread_mutex_unlock(lock), elsewhere(trylock, lock), pthread_mutex_unlock(lock),
	      elsewhere(trylock, lock));
	lock = of_type(PTHREAD_MUTEX_ERRORCHECK);
	STEPS("errorcheck", pthread_mutex_unlock(lock), pthread_mutex_lock(lock), pthread_mutex_lock(lock),
	      pthread_mutex_trylock(lock), pthread_mutex_timedlock(lock, &past), elsewhere(just_unlock, lock),
	      elsewhere(trylock, lock), pthread_mutex_unlock(lock), elsewhere(trylock, lock));
	lock = mutex(PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_INHERIT, PTHREAD_PROCESS_PRIVATE);
	STEPS("errorcheck inheriting", pthread_mutex_unlock(lock), pthread_mutex_lock(lock), pthread_mutex_lock(lock),
	      pthread_mutex_trylock(lock), elsewhere(just_unlock, lock), pthread_mutex_unlock(lock));
}

/* A mutex that raises the priority may refuse threads of ordinary ones. */
static void protecting_mutexes(void)
{
	static const int types[] = { PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_RECURSIVE };

	for (size_t at = 0; at < sizeof types / sizeof *types; at++) {
		pthread_mutex_t *lock = mutex(types[at], PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_PROTECT, PTHREAD_PROCESS_PRIVATE);
		int taken = pthread_mutex_lock(lock);

		STEPS("protecting", taken, elsewhere(trylock, lock), taken ? taken : pthread_mutex_unlock(lock),
		      elsewhere(trylock, lock));
	}
}

static int timed(void *lock)
{
	return pthread_mutex_timedlock(lock, &past);
}

static int timed_invalid(void *lock)
{
	return pthread_mutex_timedlock(lock, &invalid);
}

static int timed_soon(void *lock)
{
	struct timespec until = soon(CLOCK_REALTIME);

	return pthread_mutex_timedlock(lock, &until);
}

static int clocked_soon(void *lock)
{
	struct timespec until = soon(CLOCK_MONOTONIC);

	return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &until);
}

static void timed_mutexes(void)
{
	pthread_mutex_t *lock = of_type(PTHREAD_MUTEX_NORMAL);

	STEPS("timed, free", pthread_mutex_timedlock(lock, &past), pthread_mutex_unlock(lock),
	      pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &past), pthread_mutex_unlock(lock),
	      pthread_mutex_clocklock(lock, CLOCK_PROCESS_CPUTIME_ID, &past), pthread_mutex_lock(lock));
	STEPS("timed, held", elsewhere(timed, lock), elsewhere(timed_invalid, lock), elsewhere(timed_soon, lock),
	      elsewhere(clocked_soon, lock), pthread_mutex_unlock(lock), elsewhere(trylock, lock));
}

static void robust_mutexes(void)
{
	pthread_mutex_t *lock = robust(PTHREAD_MUTEX_NORMAL, PTHREAD_PROCESS_PRIVATE);

	STEPS("robust", elsewhere(just_lock, lock), pthread_mutex_lock(lock), pthread_mutex_consistent(lock),
	      pthread_mutex_unlock(lock), pthread_mutex_lock(lock), pthread_mutex_unlock(lock));
	STEPS("robust, by trylock", elsewhere(just_lock, lock), pthread_mutex_trylock(lock), pthread_mutex_consistent(lock),
	      pthread_mutex_unlock(lock));
	STEPS("robust, timed", elsewhere(just_lock, lock), pthread_mutex_timedlock(lock, &past), pthread_mutex_consistent(lock),
	      pthread_mutex_unlock(lock));
	STEPS("robust, given up", elsewhere(just_lock, lock), pthread_mutex_lock(lock), pthread_mutex_unlock(lock),
	      pthread_mutex_lock(lock), pthread_mutex_trylock(lock), pthread_mutex_timedlock(lock, &past));

	pthread_mutex_t *shared = robust(PTHREAD_MUTEX_NORMAL, PTHREAD_PROCESS_SHARED);
	pid_t child = fork();
	int status;

	if (!child) {
		pthread_mutex_lock(shared);
		_exit(0);
	}
	waitpid(child, &status, 0);
	STEPS("robust, of a process", pthread_mutex_lock(shared), pthread_mutex_consistent(shared), pthread_mutex_unlock(shared),
	      pthread_mutex_lock(shared), pthread_mutex_unlock(shared));
}

/* A condition variable and its mutex; what its waiter waits for, and whether it is there. */
struct meeting {
	pthread_mutex_t *mutex;
	pthread_cond_t condition;
	bool waits, go;
	int how, result, held; /* `held`: what another thread's attempt at the mutex gave */
};

static void enter_meeting(struct meeting *meeting)
{
	pthread_mutex_lock(meeting->mutex);
	meeting->waits = true;
}

static void *waiter(void *argument)
{
	struct meeting *meeting = argument;
	struct timespec until = { (time_t)1 << 40, 0 };

	enter_meeting(meeting);
	while (!meeting->go && !meeting->result)
		meeting->result = meeting->how == 0 ? pthread_cond_wait(&meeting->condition, meeting->mutex) :
				  meeting->how == 1 ? pthread_cond_timedwait(&meeting->condition, meeting->mutex, &until) :
						      pthread_cond_clockwait(&meeting->condition, meeting->mutex,
									     CLOCK_MONOTONIC, &until);
	meeting->held = elsewhere(trylock, meeting->mutex);
	pthread_mutex_unlock(meeting->mutex);
	return NULL;
}

static void await(struct meeting *meeting)
{
	for (bool there = false; !there; sched_yield()) {
		pthread_mutex_lock(meeting->mutex);
		there = meeting->waits;
		pthread_mutex_unlock(meeting->mutex);
	}
}

static void conditions(void)
{
	static const char *names[] = { "wait", "timedwait", "clockwait" };

	for (int how = 0; how < 3; how++) {
		struct meeting meeting = { of_type(PTHREAD_MUTEX_NORMAL), PTHREAD_COND_INITIALIZER, false, false, how, 0, -1 };
		pthread_t thread;

		pthread_create(&thread, NULL, waiter, &meeting);
		await(&meeting);
		pthread_mutex_lock(meeting.mutex);
		meeting.go = true;
		pthread_cond_signal(&meeting.condition);
		pthread_mutex_unlock(meeting.mutex);
		pthread_join(thread, NULL);
		STEPS(names[how], meeting.result, meeting.held, elsewhere(trylock, meeting.mutex));
	}

	pthread_mutex_t *lock = of_type(PTHREAD_MUTEX_NORMAL), *checked = of_type(PTHREAD_MUTEX_ERRORCHECK);
	pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

	STEPS("wait in vain", pthread_mutex_lock(lock), pthread_cond_timedwait(&condition, lock, &past), elsewhere(trylock, lock),
	      pthread_cond_clockwait(&condition, lock, CLOCK_MONOTONIC, &past), elsewhere(trylock, lock),
	      pthread_cond_timedwait(&condition, lock, &invalid), elsewhere(trylock, lock), pthread_mutex_unlock(lock),
	      elsewhere(trylock, lock));
	STEPS("wait without the mutex", pthread_cond_wait(&condition, checked),
	      pthread_cond_timedwait(&condition, checked, &past));
}

/* What a thread that is cancelled while it waits finds in its cleanup handler: the mutex is its own. */
static void cleanup(void *argument)
{
	struct meeting *meeting = argument;

	meeting->held = pthread_mutex_lock(meeting->mutex);
	meeting->result = pthread_mutex_unlock(meeting->mutex);
}

static void *cancelled(void *argument)
{
	struct meeting *meeting = argument;

	enter_meeting(meeting);
	pthread_cleanup_push(cleanup, meeting);
	for (;;) {
		struct timespec until = { (time_t)1 << 40, 0 };

		if (meeting->how == 0)
			pthread_cond_wait(&meeting->condition, meeting->mutex);
		else
			pthread_cond_timedwait(&meeting->condition, meeting->mutex, &until);
	}
	pthread_cleanup_pop(0);
	return NULL;
}

static void *not_cancelled(void *lock)
{
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
	/* None of these is a cancellation point. */
	long result = pthread_mutex_lock(lock) + pthread_mutex_trylock(lock) + pthread_mutex_unlock(lock);

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	return (void *)result;
}

static void cancellation(void)
{
	void *result;
	pthread_t thread;

	for (int how = 0; how < 2; how++) {
		struct meeting meeting = { of_type(PTHREAD_MUTEX_ERRORCHECK), PTHREAD_COND_INITIALIZER, false, false, how, -1, -1 };

		pthread_create(&thread, NULL, cancelled, &meeting);
		await(&meeting);
		pthread_cancel(thread);
		pthread_join(thread, &result);
		STEPS(how ? "cancelled in timedwait" : "cancelled in wait", result != PTHREAD_CANCELED, meeting.held,
		      meeting.result, elsewhere(trylock, meeting.mutex));
	}
	pthread_create(&thread, NULL, not_cancelled, of_type(PTHREAD_MUTEX_NORMAL));
	pthread_join(thread, &result);
	STEPS("no cancellation point", (int)(intptr_t)result);
}

/* The condition variables of programs that were linked before glibc 2.3.2, which hold a pointer. */
#if defined __x86_64__
__asm__(".symver old_init, pthread_cond_init@GLIBC_2.2.5");
__asm__(".symver old_wait, pthread_cond_wait@GLIBC_2.2.5");
__asm__(".symver old_timedwait, pthread_cond_timedwait@GLIBC_2.2.5");
__asm__(".symver old_signal, pthread_cond_signal@GLIBC_2.2.5");
int old_init(void *, const pthread_condattr_t *);
int old_wait(void *, pthread_mutex_t *);
int old_timedwait(void *, pthread_mutex_t *, const struct timespec *);
int old_signal(void *);

struct old_meeting {
	pthread_mutex_t *mutex;
	void *condition[2];
	bool waits, go;
	int result;
};

static void *old_waiter(void *argument)
{
	struct old_meeting *meeting = argument;

	pthread_mutex_lock(meeting->mutex);
	meeting->waits = true;
	while (!meeting->go && !meeting->result)
		meeting->result = old_wait(meeting->condition, meeting->mutex);
	pthread_mutex_unlock(meeting->mutex);
	return NULL;
}

static void old_conditions(void)
{
	struct old_meeting meeting = { of_type(PTHREAD_MUTEX_NORMAL), { NULL, &meeting }, false, false, 0 };
	pthread_t thread;

	old_init(meeting.condition, NULL);
	pthread_create(&thread, NULL, old_waiter, &meeting);
	for (bool there = false; !there; sched_yield()) {
		pthread_mutex_lock(meeting.mutex);
		there = meeting.waits;
		pthread_mutex_unlock(meeting.mutex);
	}
	pthread_mutex_lock(meeting.mutex);
	meeting.go = true;
	old_signal(meeting.condition);
	int timed = old_timedwait(meeting.condition, meeting.mutex, &past);

	pthread_mutex_unlock(meeting.mutex);
	pthread_join(thread, NULL);
	/* The second word is not theirs, and the newer functions would have written there. */
	STEPS("the oldest condition variables", meeting.result, timed, meeting.condition[0] == NULL,
	      meeting.condition[1] != &meeting);
}
#else
static void old_conditions(void)
{
}
#endif

/* The waiter's mutex can no longer be had when it is woken. */
static int leave_it(void *mutex)
{
	int result = pthread_mutex_lock(mutex);

	return result == EOWNERDEAD ? pthread_mutex_unlock(mutex) : result;
}

static void not_recoverable(void)
{
	struct meeting meeting = { robust(PTHREAD_MUTEX_NORMAL, PTHREAD_PROCESS_PRIVATE), PTHREAD_COND_INITIALIZER, false, false, 0, 0,
				   -1 };
	pthread_t thread;

	pthread_create(&thread, NULL, waiter, &meeting);
	await(&meeting);
	int taken = elsewhere(just_lock, meeting.mutex), left = elsewhere(leave_it, meeting.mutex);

	pthread_cond_signal(&meeting.condition);
	pthread_join(thread, NULL);
	STEPS("wait for what cannot be recovered", taken, left, meeting.result, meeting.held);
}

static int spin_trylock(void *lock)
{
	int result = pthread_spin_trylock(lock);

	if (!result)
		pthread_spin_unlock(lock);
	return result;
}

static void spins(void)
{
	pthread_spinlock_t lock;

	pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE);
	STEPS("spin", pthread_spin_lock(&lock), elsewhere(spin_trylock, (void *)&lock), pthread_spin_trylock(&lock),
	      pthread_spin_unlock(&lock), elsewhere(spin_trylock, (void *)&lock), pthread_spin_trylock(&lock),
	      pthread_spin_unlock(&lock), pthread_spin_destroy(&lock));
}

static int read_soon(void *lock)
{
	struct timespec until = soon(CLOCK_REALTIME);
	int result = pthread_rwlock_timedrdlock(lock, &until);

	return result ? result : pthread_rwlock_unlock(lock);
}

static int write_soon(void *lock)
{
	struct timespec until = soon(CLOCK_REALTIME);
	int result = pthread_rwlock_timedwrlock(lock, &until);

	return result ? result : pthread_rwlock_unlock(lock);
}

static int clock_read_soon(void *lock)
{
	struct timespec until = soon(CLOCK_MONOTONIC);
	int result = pthread_rwlock_clockrdlock(lock, CLOCK_MONOTONIC, &until);

	return result ? result : pthread_rwlock_unlock(lock);
}

static int clock_write_soon(void *lock)
{
	struct timespec until = soon(CLOCK_MONOTONIC);
	int result = pthread_rwlock_clockwrlock(lock, CLOCK_MONOTONIC, &until);

	return result ? result : pthread_rwlock_unlock(lock);
}

static int try_read(void *lock)
{
	int result = pthread_rwlock_tryrdlock(lock);

	return result ? result : pthread_rwlock_unlock(lock);
}

static int try_write(void *lock)
{
	int result = pthread_rwlock_trywrlock(lock);

	return result ? result : pthread_rwlock_unlock(lock);
}

static void rwlocks(void)
{
	pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

	STEPS("read lock", pthread_rwlock_rdlock(&lock), pthread_rwlock_rdlock(&lock), elsewhere(try_read, &lock),
	      elsewhere(try_write, &lock), elsewhere(read_soon, &lock), elsewhere(write_soon, &lock),
	      elsewhere(clock_read_soon, &lock), elsewhere(clock_write_soon, &lock), pthread_rwlock_trywrlock(&lock),
	      pthread_rwlock_unlock(&lock), elsewhere(try_write, &lock), pthread_rwlock_unlock(&lock),
	      elsewhere(try_write, &lock));
	STEPS("write lock", pthread_rwlock_wrlock(&lock), elsewhere(try_read, &lock), elsewhere(try_write, &lock),
	      elsewhere(read_soon, &lock), elsewhere(write_soon, &lock), elsewhere(clock_read_soon, &lock),
	      elsewhere(clock_write_soon, &lock), pthread_rwlock_wrlock(&lock), pthread_rwlock_rdlock(&lock),
	      pthread_rwlock_unlock(&lock), elsewhere(try_read, &lock));
	STEPS("timed read-write locks, free", pthread_rwlock_timedrdlock(&lock, &past), pthread_rwlock_unlock(&lock),
	      pthread_rwlock_timedwrlock(&lock, &past), pthread_rwlock_unlock(&lock),
	      pthread_rwlock_clockrdlock(&lock, CLOCK_MONOTONIC, &past), pthread_rwlock_unlock(&lock),
	      pthread_rwlock_clockwrlock(&lock, CLOCK_MONOTONIC, &past), pthread_rwlock_unlock(&lock),
	      pthread_rwlock_clockrdlock(&lock, CLOCK_PROCESS_CPUTIME_ID, &past),
	      pthread_rwlock_clockwrlock(&lock, CLOCK_PROCESS_CPUTIME_ID, &past), pthread_rwlock_tryrdlock(&lock),
	      pthread_rwlock_unlock(&lock), pthread_rwlock_destroy(&lock));
}

static const char *c11(int result)
{
	return result == thrd_success ? "success" : result == thrd_busy ? "busy" : result == thrd_timedout ? "timedout" : "error";
}

static int c11_trylock(void *lock)
{
	int result = mtx_trylock(lock);

	if (result == thrd_success)
		mtx_unlock(lock);
	return result;
}

static int c11_timedlock(void *lock)
{
	struct timespec until = soon(CLOCK_REALTIME);

	return mtx_timedlock(lock, &until);
}

struct c11_meeting {
	mtx_t mutex;
	cnd_t condition;
	bool waits, go;
};

static int c11_waiter(void *argument)
{
	struct c11_meeting *meeting = argument;
	int result = thrd_success;

	mtx_lock(&meeting->mutex);
	meeting->waits = true;
	while (!meeting->go && result == thrd_success)
		result = cnd_wait(&meeting->condition, &meeting->mutex);
	mtx_unlock(&meeting->mutex);
	return result;
}

static void c11_locks(void)
{
	struct c11_meeting meeting = { .waits = false };
	mtx_t lock;
	thrd_t thread;
	int results[9], count = 0;

	mtx_init(&lock, mtx_timed | mtx_recursive);
	results[count++] = mtx_lock(&lock);
	results[count++] = mtx_trylock(&lock);
	results[count++] = mtx_timedlock(&lock, &past);
	results[count++] = elsewhere(c11_trylock, &lock);
	results[count++] = elsewhere(c11_timedlock, &lock);
	results[count++] = mtx_unlock(&lock);
	results[count++] = mtx_unlock(&lock);
	results[count++] = mtx_unlock(&lock);
	results[count++] = elsewhere(c11_trylock, &lock);
	printf("C11 mutex\t");
	for (int at = 0; at < count; at++)
		printf("%s%s", c11(results[at]), at + 1 < count ? " " : "\n");
	mtx_destroy(&lock);

	mtx_init(&meeting.mutex, mtx_timed);
	cnd_init(&meeting.condition);
	thrd_create(&thread, c11_waiter, &meeting);
	for (bool there = false; !there; thrd_yield()) {
		mtx_lock(&meeting.mutex);
		there = meeting.waits;
		mtx_unlock(&meeting.mutex);
	}
	mtx_lock(&meeting.mutex);
	meeting.go = true;
	cnd_signal(&meeting.condition);
	int timed = cnd_timedwait(&meeting.condition, &meeting.mutex, &past), result;

	mtx_unlock(&meeting.mutex);
	thrd_join(thread, &result);
	printf("C11 condition variable\t%s %s %s\n", c11(timed), c11(result), c11(elsewhere(c11_trylock, &meeting.mutex)));
}

/* Threads and processes that add to one sum under one lock. */
#define ADDERS 4
#define ADDITIONS 5000

struct sum {
	void *lock;
	int (*take)(void *), (*release)(void *);
	volatile long sum;
};

static void *adder(void *argument)
{
	struct sum *sum = argument;

	for (int times = 0; times < ADDITIONS; times++) {
		sum->take(sum->lock);
		sum->sum++;
		sum->release(sum->lock);
	}
	return NULL;
}

static void add(const char *name, void *lock, int (*take)(void *), int (*release)(void *))
{
	struct sum sum = { lock, take, release, 0 };
	pthread_t threads[ADDERS];

	for (int at = 0; at < ADDERS; at++)
		pthread_create(&threads[at], NULL, adder, &sum);
	for (int at = 0; at < ADDERS; at++)
		pthread_join(threads[at], NULL);
	printf("sum, %s\t%ld\n", name, sum.sum);
}

static int take_by_trying(void *mutex)
{
	while (pthread_mutex_trylock(mutex) == EBUSY)
		sched_yield();
	return 0;
}

static int take_in_time(void *mutex)
{
	struct timespec until = { (time_t)1 << 40, 0 };

	return pthread_mutex_timedlock(mutex, &until);
}

#define AS_CALL(name, function, type) \
	static int name(void *lock) \
	{ \
		return function((type *)lock); \
	}
AS_CALL(spin_lock, pthread_spin_lock, pthread_spinlock_t)
AS_CALL(spin_unlock, pthread_spin_unlock, pthread_spinlock_t)
AS_CALL(write_lock, pthread_rwlock_wrlock, pthread_rwlock_t)
AS_CALL(write_unlock, pthread_rwlock_unlock, pthread_rwlock_t)
AS_CALL(c11_lock, mtx_lock, mtx_t)
AS_CALL(c11_unlock, mtx_unlock, mtx_t)

static void sums(void)
{
	pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
	pthread_spinlock_t spin;
	mtx_t c11;

	pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
	mtx_init(&c11, mtx_plain);
	add("normal", of_type(PTHREAD_MUTEX_NORMAL), just_lock, just_unlock);
	add("adaptive", of_type(PTHREAD_MUTEX_ADAPTIVE_NP), just_lock, just_unlock);
	add("recursive", of_type(PTHREAD_MUTEX_RECURSIVE), just_lock, just_unlock);
	add("errorcheck", of_type(PTHREAD_MUTEX_ERRORCHECK), just_lock, just_unlock);
	add("robust", robust(PTHREAD_MUTEX_NORMAL, PTHREAD_PROCESS_PRIVATE), just_lock, just_unlock);
	add("inheriting", mutex(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_INHERIT, PTHREAD_PROCESS_PRIVATE),
	    just_lock, just_unlock);
	add("by trylock", of_type(PTHREAD_MUTEX_NORMAL), take_by_trying, just_unlock);
	add("timed", of_type(PTHREAD_MUTEX_NORMAL), take_in_time, just_unlock);
	add("spin", (void *)&spin, spin_lock, spin_unlock);
	add("write lock", &rwlock, write_lock, write_unlock);
	add("C11", &c11, c11_lock, c11_unlock);

	struct sum *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;

	*shared = (struct sum){ robust(PTHREAD_MUTEX_NORMAL, PTHREAD_PROCESS_SHARED), just_lock, just_unlock, 0 };
	for (int at = 0; at < 2; at++)
		if (!fork()) {
			adder(shared);
			_exit(0);
		}
	while (wait(&status) > 0)
		;
	printf("sum, of processes\t%ld\n", shared->sum);
}

static volatile sig_atomic_t handled;

static void handle(int signal)
{
	(void)signal;
	handled = 1;
}

static void *wait_for_lock(void *lock)
{
	return (void *)(intptr_t)pthread_mutex_lock(lock);
}

/* No lock returns EINTR, errno stays as it was, and a child may release what its parent held. */
static void others(void)
{
	pthread_mutex_t *lock = of_type(PTHREAD_MUTEX_NORMAL);
	struct sigaction action = { .sa_handler = handle };
	pthread_t thread;
	void *result;
	int status;

	sigaction(SIGUSR1, &action, NULL);
	pthread_mutex_lock(lock);
	pthread_create(&thread, NULL, wait_for_lock, lock);
	while (!handled) {
		pthread_kill(thread, SIGUSR1);
		usleep(1000);
	}
	pthread_mutex_unlock(lock);
	pthread_join(thread, &result);
	STEPS("interrupted by a signal", (int)(intptr_t)result, elsewhere(trylock, lock), pthread_mutex_unlock(lock));

	errno = ENOTTY;
	pthread_mutex_lock(lock);
	pthread_mutex_unlock(lock);
	STEPS("errno", errno);

	pthread_mutex_lock(lock);
	if (!fork())
		_exit(pthread_mutex_unlock(lock) || trylock(lock));
	pthread_mutex_unlock(lock);
	wait(&status);
	STEPS("in a child", status);
}

int main(void)
{
	mutexes();
	protecting_mutexes();
	timed_mutexes();
	robust_mutexes();
	conditions();
	cancellation();
	old_conditions();
	not_recoverable();
	spins();
	rwlocks();
	c11_locks();
	sums();
	others();
	return 0;
}
