/* Takes a lock and releases it, as often as it is told; or has a library do so that it opens, this file compiled with LIBRARY. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

void take(long times);
void take(long times)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	while (times--) {
		pthread_mutex_lock(&lock);
		pthread_mutex_unlock(&lock);
	}
}

#ifndef LIBRARY
int main(int count, char **arguments)
{
	void *library = count > 2 ? dlopen(arguments[2], RTLD_LAZY) : NULL;
	void (*taker)(long) = library ? (void (*)(long))dlsym(library, "take") : take;

	if (!taker || (count > 2 && !library))
		return 1;
	taker(count > 1 ? atol(arguments[1]) : 0);
	return 0;
}
#endif
