/* A spin lock in C whose holders ask for time: threads that want it on one CPU. Says, a line a fact, what was bound and counted. */

#include <invar.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define THREADS 4
#define ROUNDS 20000

static atomic_flag lock = ATOMIC_FLAG_INIT;
static long sum;
static atomic_int enrolled, enrolled_before;
static pthread_barrier_t all;

/* Whether the kernel looks at this thread's requests (Linux, include/uapi/linux/rseq.h: flags, bit 5). */
static int is_enrolled(void)
{
	uint32_t flags;

	__asm__ volatile("movl %%fs:16(%1), %0" : "=r"(flags) : "r"((intptr_t)(int32_t)invar_slice.data));
	return flags >> 5 & 1;
}

struct listed {
	int enabled, asleep;
};

static void list(const struct invar_thread *thread, void *argument)
{
	struct listed *listed = argument;

	listed->enabled += thread->area == INVAR_OK && thread->enabled && !thread->request;
	/* Whoever asks waits meanwhile. */
	listed->asleep += thread->asleep;
}

static void *contend(void *unused)
{
	atomic_int own = 0;
	int i;

	enrolled_before += is_enrolled();
	for (i = 0; i < ROUNDS; i++) {
		for (;;) {
			int step;

			invar_slice_enter();
			if (!atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) {
				for (step = 0; step < 60; step++)
					atomic_fetch_add_explicit(&own, 1, memory_order_relaxed);
				sum++;
				atomic_flag_clear_explicit(&lock, memory_order_release);
				invar_slice_leave();
				break;
			}
			invar_slice_leave();
			invar_slice_enrol_contended();
			sched_yield();
		}
	}
	enrolled += invar_slice_enrol() == INVAR_OK;
	pthread_barrier_wait(&all);
	pthread_barrier_wait(&all);
	return unused;
}

int main(void)
{
	struct invar_counts counts = { .size = sizeof counts };
	struct invar_verdict verdict;
	pthread_t threads[THREADS];
	struct listed listed = { 0, 0 };
	int i, counted;

	memset(&verdict, 0, sizeof verdict);
	printf("key\t%d\n", invar_key("slice", &verdict, sizeof verdict));
	printf("slice\t%d\n", verdict.value);
	printf("evidence\t%.*s\n", verdict.evidence_length, verdict.evidence);
	pthread_barrier_init(&all, NULL, THREADS + 1);
	for (i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, contend, NULL);
	pthread_barrier_wait(&all);
	i = invar_slice_audit(list, &listed);
	printf("listed\t%d %d %d\n", i, listed.enabled, listed.asleep > 0);
	pthread_barrier_wait(&all);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("sum\t%ld\n", sum);
	printf("enrolled before\t%d\n", enrolled_before);
	printf("enrolled\t%d\n", enrolled);
	counted = invar_slice_counts(&counts);
	printf("counted\t%s\n", invar_strerror(counted));
	if (counted == INVAR_OK)
		printf("counts\t%lu %lu %lu %lu\n", (unsigned long)counts.requests, (unsigned long)counts.grants,
		       (unsigned long)counts.yields, (unsigned long)counts.lost);
	return 0;
}
