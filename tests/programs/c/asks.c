/* What a thread asks for at each step, where libinvar-preload is in front and the time slice key is forced: its request byte. The
 * first argument is the area's distance from the library's thread-local memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <unistd.h>

static size_t area;

static int find(struct dl_phdr_info *module, size_t size, void *found)
{
	(void)size;
	if (strstr(module->dlpi_name, "libinvar-preload") && module->dlpi_tls_data)
		*(volatile unsigned char **)found = (unsigned char *)module->dlpi_tls_data + area + 28;
	return 0;
}

/* The calling thread's two bytes. */
static volatile unsigned char *slice(void)
{
	volatile unsigned char *found = NULL;

	dl_iterate_phdr(find, &found);
	if (!found)
		exit(2);
	return found;
}

static volatile unsigned char *own;

#define SAY(name, ...) \
	do { \
		int bytes[] = { __VA_ARGS__ }; \
		printf("%s", name); \
		for (size_t at = 0; at < sizeof bytes / sizeof *bytes; at++) \
			printf("%s%d", at ? " " : "\t", bytes[at]); \
		puts(""); \
	} while (0)
/* What is asked for after a call. */
#define AFTER(call) ((void)(call), *own)

static pthread_mutex_t outer = PTHREAD_MUTEX_INITIALIZER, inner = PTHREAD_MUTEX_INITIALIZER;
static const struct timespec past = { 1, 0 };

static void *hold(void *robust)
{
	pthread_mutex_lock(robust);
	return NULL;
}

/* Second names, which glibc keeps for programs that were linked before 2.34. */
#ifdef __x86_64__
#define BASE "GLIBC_2.2.5"
#else
#define BASE "GLIBC_2.27"
#endif
__asm__(".symver old_lock, __pthread_mutex_lock@" BASE);
__asm__(".symver old_trylock, __pthread_mutex_trylock@" BASE);
__asm__(".symver old_unlock, __pthread_mutex_unlock@" BASE);
int old_lock(pthread_mutex_t *), old_trylock(pthread_mutex_t *), old_unlock(pthread_mutex_t *);

struct meeting {
	pthread_mutex_t mutex;
	pthread_cond_t condition;
	bool go;
	volatile bool waits;
	volatile unsigned char *asks;
	int outcome[3];
};

static void cleanup(void *argument)
{
	struct meeting *meeting = argument;

	meeting->outcome[1] = *meeting->asks;
	pthread_mutex_unlock(&meeting->mutex);
	meeting->outcome[2] = *meeting->asks;
}

static void *wait_there(void *argument)
{
	struct meeting *meeting = argument;

	meeting->asks = slice();
	pthread_mutex_lock(&meeting->mutex);
	meeting->waits = true;
	pthread_cleanup_push(cleanup, meeting);
	while (!meeting->go)
		pthread_cond_wait(&meeting->condition, &meeting->mutex);
	pthread_cleanup_pop(1);
	return NULL;
}

static void meet(struct meeting *meeting, bool cancel)
{
	pthread_t thread;

	pthread_create(&thread, NULL, wait_there, meeting);
	while (!meeting->waits)
		sched_yield();
	pthread_mutex_lock(&meeting->mutex); /* it waits now */
	meeting->outcome[0] = *meeting->asks;
	meeting->go = !cancel;
	pthread_cond_signal(&meeting->condition);
	pthread_mutex_unlock(&meeting->mutex);
	if (cancel)
		pthread_cancel(thread);
	pthread_join(thread, NULL);
}

int main(int count, char **arguments)
{
	pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
	pthread_spinlock_t spin;
	pthread_mutex_t checked, robust;
	pthread_mutexattr_t attributes;
	pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	pthread_t thread;
	mtx_t c11;

	area = count > 1 ? strtoul(arguments[1], NULL, 0) : 0;
	own = slice();
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&checked, &attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_NORMAL);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attributes);
	pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
	mtx_init(&c11, mtx_plain);

	SAY("one lock", *own, AFTER(pthread_mutex_lock(&outer)), AFTER(pthread_mutex_unlock(&outer)));
	SAY("nested", AFTER(pthread_mutex_lock(&outer)), AFTER(pthread_mutex_lock(&inner)),
			      AFTER(pthread_mutex_unlock(&inner)), AFTER(pthread_mutex_unlock(&outer)));
	SAY("of all kinds", AFTER(pthread_spin_lock(&spin)), AFTER(pthread_rwlock_rdlock(&rwlock)), AFTER(mtx_lock(&c11)),
		    AFTER(pthread_spin_unlock(&spin)), AFTER(mtx_unlock(&c11)), AFTER(pthread_rwlock_unlock(&rwlock)));
	pthread_mutex_lock(&outer);
	SAY("an attempt that fails", AFTER(pthread_mutex_trylock(&outer)), AFTER(pthread_mutex_timedlock(&outer, &past)),
					     AFTER(pthread_mutex_unlock(&outer)), AFTER(pthread_mutex_lock(&checked)),
					     AFTER(pthread_mutex_lock(&checked)), AFTER(pthread_mutex_unlock(&checked)),
					     AFTER(pthread_mutex_unlock(&checked)));
	/* Not held: EPERM. */
	SAY("a release that fails", AFTER(pthread_mutex_lock(&outer)), AFTER(pthread_mutex_unlock(&checked)),
	    AFTER(pthread_mutex_unlock(&outer)));
	pthread_create(&thread, NULL, hold, &robust);
	pthread_join(thread, NULL);
	SAY("of a dead owner", AFTER(pthread_mutex_lock(&robust)), AFTER(pthread_mutex_unlock(&robust)),
				       AFTER(pthread_mutex_lock(&robust)));
	/* As the kernel does where another thread ran. */
	pthread_mutex_lock(&outer);
	*own = 0;
	SAY("lost, then another lock", *own, AFTER(pthread_mutex_lock(&inner)), AFTER(pthread_mutex_unlock(&inner)),
					       AFTER(pthread_mutex_unlock(&outer)));
	/* As the kernel grants: it is not asked again. */
	pthread_mutex_lock(&outer);
	own[0] = 0, own[1] = 1;
	SAY("granted, then another lock", AFTER(pthread_mutex_lock(&inner)), AFTER(pthread_mutex_unlock(&inner)));
	own[1] = 0;
	pthread_mutex_unlock(&outer);

	pthread_mutex_lock(&outer);
	SAY("a wait in vain", AFTER(pthread_cond_timedwait(&condition, &outer, &past)), AFTER(pthread_mutex_unlock(&outer)));

	struct meeting meeting = { .mutex = PTHREAD_MUTEX_INITIALIZER, .condition = PTHREAD_COND_INITIALIZER };

	meet(&meeting, false);
	SAY("waiting, woken, released", meeting.outcome[0], meeting.outcome[1], meeting.outcome[2]);
	meeting = (struct meeting){ .mutex = PTHREAD_MUTEX_INITIALIZER, .condition = PTHREAD_COND_INITIALIZER };
	meet(&meeting, true);
	SAY("waiting, cancelled, released", meeting.outcome[0], meeting.outcome[1], meeting.outcome[2]);
	SAY("by the names of old programs", AFTER(old_lock(&outer)), AFTER(old_trylock(&inner)), AFTER(old_unlock(&inner)),
	    AFTER(old_unlock(&outer)));
	SAY("at the end", AFTER(pthread_mutex_lock(&outer)), AFTER(pthread_mutex_unlock(&outer)));
	return 0;
}
