/* at_once LIBRARY...: a program without keys, which opens each library in a thread of its own, all at once, then has each tell
 * its story, and the last one all there is to say. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* How many probes of each of the libraries' keys have begun; they look it up by its name. */
unsigned begun[30];

static int arrived, count;

#ifdef SLOW
/* In the place of libc's: whoever looks what is loaded is slow, so that others do something meanwhile. */
struct visit {
	int (*visitor)(struct dl_phdr_info *, size_t, void *);
	void *argument;
};

static int visit_slowly(struct dl_phdr_info *info, size_t size, void *visit)
{
	const struct timespec moment = {0, 20000};

	nanosleep(&moment, NULL);
	return ((struct visit *)visit)->visitor(info, size, ((struct visit *)visit)->argument);
}

int dl_iterate_phdr(int (*visitor)(struct dl_phdr_info *, size_t, void *), void *argument)
{
	int (*libcs)(int (*)(struct dl_phdr_info *, size_t, void *), void *);
	struct visit visit = {visitor, argument};

	*(void **)&libcs = dlsym(RTLD_NEXT, "dl_iterate_phdr");
	return libcs(visit_slowly, &visit);
}
#endif

static void *open_library(void *path)
{
	void *library;

	__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < count)
		;
	library = dlopen(path, RTLD_NOW);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	return library;
}

static void call(void *library, const char *name)
{
	void *function = dlsym(library, name);

	if (function)
		((void (*)(void))function)();
}

int main(int argc, char **argv)
{
	pthread_t threads[8];
	void *libraries[8];
	int at;

	count = argc - 1;
	for (at = 0; at < count; at++)
		pthread_create(&threads[at], NULL, open_library, argv[1 + at]);
	for (at = 0; at < count; at++)
		pthread_join(threads[at], &libraries[at]);
	for (at = 0; at < count; at++)
		call(libraries[at], "tell_story");
	call(libraries[count - 1], "tell_all");
	return 0;
}
