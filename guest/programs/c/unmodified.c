/* A program that knows nothing of time slices: threads that want one lock of the C library on one CPU. The first argument is the
 * kind of lock, the second one how many milliseconds they go on. Says how often they had it, and whether each time alone. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <time.h>

#define THREADS 8

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin;
static mtx_t c11;
static volatile long sum;
static atomic_long own;
static atomic_bool over;

static void lock(char kind)
{
	switch (kind) {
	case 'm':
		pthread_mutex_lock(&mutex);
		break;
	case 'r':
		pthread_rwlock_wrlock(&rwlock);
		break;
	case 's':
		pthread_spin_lock(&spin);
		break;
	default:
		mtx_lock(&c11);
	}
}

static void unlock(char kind)
{
	switch (kind) {
	case 'm':
		pthread_mutex_unlock(&mutex);
		break;
	case 'r':
		pthread_rwlock_unlock(&rwlock);
		break;
	case 's':
		pthread_spin_unlock(&spin);
		break;
	default:
		mtx_unlock(&c11);
	}
}

static void *contend(void *argument)
{
	char kind = *(const char *)argument;
	long times = 0;

	for (; !atomic_load_explicit(&over, memory_order_relaxed); times++) {
		lock(kind);
		for (int step = 0; step < 60; step++)
			atomic_fetch_add_explicit(&own, 1, memory_order_relaxed);
		sum++;
		unlock(kind);
	}
	return (void *)times;
}

int main(int count, char **arguments)
{
	char *kind = count > 1 ? arguments[1] : "mutex";
	long milliseconds = count > 2 ? atol(arguments[2]) : 100, all = 0;
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
	pthread_t threads[THREADS];

	pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
	mtx_init(&c11, mtx_plain);
	for (int at = 0; at < THREADS; at++)
		pthread_create(&threads[at], NULL, contend, kind);
	nanosleep(&time, NULL);
	over = true;
	for (int at = 0; at < THREADS; at++) {
		void *times;

		pthread_join(threads[at], &times);
		all += (long)times;
	}
	printf("times\t%ld\nalone\t%s\n", all, all == sum ? "yes" : "no");
	return all != sum;
}
