/* Threads that end, each way in which a thread can, detached; whoever unmaps a thread's memory in that thread must have the kernel
 * forget its area before. Says, a line a way, how many ended that were enrolled. */

#define _GNU_SOURCE
#include <invar.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define THREADS 300

static long before, enrolled, ended, ending, still;
static pthread_key_t last;

static void count(long *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static long counted(const long *counter)
{
	return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

/* Wants the CPU often, before everybody else: a thread that is about to end loses it at each of its last instructions. */
static void *disturb(void *unused)
{
	const struct timespec soon = { 0, 100000 };
	const struct sched_param first = { .sched_priority = 1 };

	if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &first))
		abort();
	for (;;)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &soon, NULL);
	return unused;
}

/* Whether the kernel looks at this thread's requests (Linux, include/uapi/linux/rseq.h: flags, bit 5). */
static int is_enrolled(void)
{
	uint32_t flags;

	__asm__ volatile("movl %%fs:16(%1), %0" : "=r"(flags) : "r"((intptr_t)(int32_t)invar_slice.data));
	return flags >> 5 & 1;
}

static void begin(void)
{
	if (is_enrolled())
		count(&before);
	if (invar_slice_enrol() == INVAR_OK)
		count(&enrolled);
	invar_slice_enter();
	invar_slice_leave();
	pthread_setspecific(last, &last);
}

/* A destructor, which runs behind libinvar's: other data of the thread that a lock guards, say. */
static void enrol_again(void *unused)
{
	int code = invar_slice_enrol();

	(void)unused;
	invar_slice_enter();
	invar_slice_leave();
	count(code == INVAR_ENDING ? &ending : &still);
	count(&ended);
}

static void *by_return(void *argument)
{
	begin();
	return argument;
}

static void *by_exit(void *argument)
{
	begin();
	pthread_exit(argument);
}

static void *detach_oneself(void *argument)
{
	begin();
	pthread_detach(pthread_self());
	return argument;
}

static void *until_cancelled(void *argument)
{
	begin();
	for (;;)
		pause();
	return argument;
}

static const struct way {
	const char *name;
	void *(*routine)(void *);
	int state;
} WAYS[] = {
	{ "return", by_return, PTHREAD_CREATE_DETACHED },
	{ "pthread_exit", by_exit, PTHREAD_CREATE_DETACHED },
	{ "detached later", by_return, PTHREAD_CREATE_JOINABLE },
	{ "detaches itself", detach_oneself, -1 },
	{ "cancelled", until_cancelled, PTHREAD_CREATE_JOINABLE },
};

static void run(const struct way *way)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int made;

	before = enrolled = ended = ending = still = 0;
	pthread_attr_init(&attributes);
	if (way->state == PTHREAD_CREATE_DETACHED)
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	for (made = 0; made < THREADS; made++) {
		if (pthread_create(&thread, &attributes, way->routine, NULL))
			abort();
		if (way->routine == until_cancelled) {
			while (counted(&enrolled) <= made)
				sched_yield();
			pthread_cancel(thread);
		}
		if (way->state == PTHREAD_CREATE_JOINABLE)
			pthread_detach(thread);
		while (counted(&ended) + 20 < made)
			sched_yield();
	}
	while (counted(&ended) < THREADS)
		sched_yield();
	/* The last of them have some instructions left. */
	usleep(10000);
	printf("%s\t%ld before, %ld enrolled, %ld given back, %ld not\n", way->name, before, enrolled, ending, still);
}

int main(void)
{
	pthread_t thread;
	size_t i;

	/* By the order of keys its destructor runs behind that of libinvar, which has one since this thread enrolled. */
	if (invar_slice_enrol() != INVAR_OK || pthread_key_create(&last, enrol_again))
		return 2;
	pthread_create(&thread, NULL, disturb, NULL);
	for (i = 0; i < sizeof WAYS / sizeof *WAYS; i++)
		run(&WAYS[i]);
	return 0;
}
