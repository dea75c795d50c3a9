/* Threads that end in every way; whether the time slice key's memory says that they are enrolled when they begin. */

#include <invar.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <threads.h>
#include <unistd.h>

static _Thread_local int own;

static void *returns(void *argument)
{
	own = 1;
	return (char *)argument + own;
}

static void *exits(void *argument)
{
	pthread_exit((char *)argument + 2);
}

static int counts(void *argument)
{
	return *(int *)argument + 3;
}

struct listed {
	int threads, self;
};

static void list(const struct invar_thread *thread, void *argument)
{
	struct listed *listed = argument;

	listed->threads++;
	if (thread->number == (uint32_t)getpid())
		listed->self += thread->size == sizeof *thread && (thread->area == INVAR_OK) == (thread->address != 0);
}

int main(void)
{
	struct listed listed = { 0, 0 };
	char base[8];
	pthread_attr_t attributes;
	pthread_t thread;
	thrd_t other;
	void *result;
	int i, number = 4;

	pthread_create(&thread, NULL, returns, base);
	pthread_join(thread, &result);
	printf("returned\t%d\n", (int)((char *)result - base));
	pthread_create(&thread, NULL, exits, base);
	pthread_join(thread, &result);
	printf("exited\t%d\n", (int)((char *)result - base));
	thrd_create(&other, counts, &number);
	thrd_join(other, &i);
	printf("counted\t%d\n", i);
	pthread_attr_init(&attributes);
	printf("refused\t%d\n", pthread_attr_setstacksize(&attributes, 1) != 0);
	for (i = 0; i < 1000; i++)
		if (pthread_create(&thread, &attributes, returns, base) || pthread_join(thread, &result))
			abort();
	printf("many\t%d\n", i);
	if (invar_slice_audit) {
		i = invar_slice_audit(list, &listed);
		printf("listed\t%d %d %d %d\n", i, listed.threads, listed.self, invar_slice_audit(NULL, NULL) == INVAR_INVALID);
	}
	fflush(stdout);
	return invar_report ? invar_report(1) : 0;
}
