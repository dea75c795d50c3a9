/* A library that stands in front of libinvar's pthread_create. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*routine)(void *), void *argument)
{
	int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	*(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
	return next(thread, attributes, routine, argument);
}
