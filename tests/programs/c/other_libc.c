/* Locks of another C library than glibc, in whose programs libinvar-preload is loaded too. */
#define _GNU_SOURCE /* dladdr */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static int there;

static void *signal_it(void *unused)
{
	pthread_mutex_lock(&mutex);
	there = 1;
	pthread_cond_signal(&condition);
	pthread_mutex_unlock(&mutex);
	return unused;
}

static const char *module(void *function)
{
	Dl_info found;

	return function && dladdr(function, &found) ? found.dli_fname : "?";
}

int main(void)
{
	const struct timespec past = { 1, 0 };
	int (*by_name)(pthread_mutex_t *) = (int (*)(pthread_mutex_t *))dlsym(RTLD_DEFAULT, "pthread_mutex_trylock");
	pthread_spinlock_t spin;
	pthread_t thread;
	mtx_t c11;
	int status = -1, results = 0;

	pthread_mutex_lock(&mutex);
	results += pthread_cond_timedwait(&condition, &mutex, &past) != ETIMEDOUT;
	results += by_name(&mutex) != EBUSY;
	pthread_create(&thread, NULL, signal_it, NULL);
	while (!there)
		results += pthread_cond_wait(&condition, &mutex);
	results += pthread_mutex_unlock(&mutex);
	pthread_join(thread, NULL);
	pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
	results += pthread_spin_lock(&spin) + (pthread_spin_trylock(&spin) != EBUSY) + pthread_spin_unlock(&spin);
	results += pthread_rwlock_rdlock(&rwlock) + (pthread_rwlock_trywrlock(&rwlock) != EBUSY) + pthread_rwlock_unlock(&rwlock);
	mtx_init(&c11, mtx_plain);
	results += mtx_lock(&c11) + (mtx_trylock(&c11) != thrd_busy) + mtx_unlock(&c11);
	if (!fork())
		_exit(pthread_mutex_lock(&mutex) || pthread_mutex_unlock(&mutex));
	wait(&status);
	printf("%d %d\n%s\n", results, status, module((void *)pthread_mutex_lock));
	return 0;
}
