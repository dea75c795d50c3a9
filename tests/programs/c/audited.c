/* Starts threads, and takes locks. */

#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned sum;

static void *work(void *argument)
{
	pthread_mutex_lock(&lock);
	sum += *(unsigned *)argument;
	pthread_mutex_unlock(&lock);
	return NULL;
}

int main(void)
{
	for (unsigned i = 0; i < 20; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, work, &i) || pthread_join(thread, NULL))
			return 1;
	}
	printf("%u\n", sum);
	return 0;
}
