/* beside COUNT LIBRARY...: opens each library and closes it COUNT times, each in a thread, while another asks for keys and
 * for the report until they are done. */
#include <invar.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static int done;
static unsigned long asked, met;
static long count;

static void *ask(void *nothing)
{
	int null = open("/dev/null", O_WRONLY);
	struct invar_verdict verdict;

	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
		met += invar_key("piece", &verdict, sizeof verdict) == INVAR_OK;
		if (invar_key("nowhere", &verdict, sizeof verdict) != INVAR_NO_KEY || invar_report(null) != INVAR_OK)
			exit(4);
		asked++;
	}
	return nothing;
}

static void *turn(void *path)
{
	long times;

	for (times = 0; times < count; times++) {
		void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		unsigned long (*piece)(unsigned long);

		if (!library) {
			fprintf(stderr, "%s\n", dlerror());
			exit(2);
		}
		*(void **)&piece = dlsym(library, "piece");
		if (piece(1) != 1002)
			exit(3);
		dlclose(library);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t asks, turns[8];
	int at;

	count = strtol(argv[1], NULL, 10);
	pthread_create(&asks, NULL, ask, NULL);
	for (at = 2; at < argc; at++)
		pthread_create(&turns[at - 2], NULL, turn, argv[at]);
	for (at = 2; at < argc; at++)
		pthread_join(turns[at - 2], NULL);
	__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
	pthread_join(asks, NULL);
	printf("asked %s, met %s\n", asked ? "yes" : "no", met ? "yes" : "no");
	return 0;
}
