/* beside_threads LIBRARY WRITERS BUSY SLICE: opens the library of busy.c, has three threads run its functions, and binds it meanwhile by
 * these writers, with these values of its keys. Says what came of it; its threads see that each call is right. */
#define _GNU_SOURCE
#define INVAR_PORTABLE /* no sites in here */
#include "binder.h"
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 3, ROUNDS = 50 };

/* At one distance from each thread's pointer, as an rseq area is. */
static __thread volatile uint8_t area[64] __attribute__((aligned(64)));
static int values[2];
static int (*const *functions)(int);
static int count, is_bound, is_over;
static unsigned rounds[THREADS];
static unsigned long wrong, back, asked, by_value[2];

/* What the library's constructor calls: it is this program that binds, and later. */
int invar_load(const struct invar_module_ *module)
{
	(void)module;
	return INVAR_OK;
}

static int32_t distance(void)
{
	char *pointer;
	__asm__("movq %%fs:0, %0" : "=r"(pointer));
	return (int32_t)((char *)area - pointer);
}

static void decide(struct invar_verdict *verdict, const struct invar_key_record *record)
{
	const char *name = (const char *)invar_at(&record->names);

	if (!strcmp(name, "slice")) {
		verdict->value = (uint8_t)values[1];
		verdict->data = (uint32_t)distance() | ~0ULL << 32;	/* no system call gives up the CPU */
	} else if (strstr(name, "busy")) {
		verdict->value = (uint8_t)values[0];
	}
}

static void *run(void *number)
{
	unsigned *own = number;
	int last = 0;

	while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
		for (int at = 0; at < count; at++) {
			int bound = __atomic_load_n(&is_bound, __ATOMIC_ACQUIRE), value = functions[at](at) - at - 1;

			if ((value != 0 && value != values[0]) || (bound && value != values[0]))
				__atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
			else
				__atomic_add_fetch(by_value + value, 1, __ATOMIC_RELAXED);
			if (value < last)
				__atomic_add_fetch(&back, 1, __ATOMIC_RELAXED);
			last = value;
			if (area[28] || area[29])
				__atomic_add_fetch(&asked, 1, __ATOMIC_RELAXED);
		}
		__atomic_add_fetch(own, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Until each thread has gone through all functions so many times more. */
static void wait_for_rounds(void)
{
	for (int at = 0; at < THREADS; at++)
		for (unsigned from = __atomic_load_n(rounds + at, __ATOMIC_ACQUIRE); __atomic_load_n(rounds + at, __ATOMIC_ACQUIRE) - from < ROUNDS;)
			sched_yield();
}

static int find(struct dl_phdr_info *info, size_t size, void *module)
{
	struct invar_module *it = module;

	(void)size;
	if (strcmp(info->dlpi_name, it->path))
		return 0;
	it->base = info->dlpi_addr;
	it->headers = info->dlpi_phdr;
	it->count = info->dlpi_phnum;
	return 1;
}

int main(int argc, char **argv)
{
	struct invar_module module = { .path = argv[1], .decide = decide };
	pthread_t threads[THREADS];
	void *library = argc == 5 ? dlopen(argv[1], RTLD_NOW) : NULL;
	int result;

	if (!library || !dl_iterate_phdr(find, &module)) {
		puts("the library is not there");
		return 2;
	}
	module.modules = &module;
	module.writers = (unsigned)atoi(argv[2]);
	values[0] = atoi(argv[3]);
	values[1] = atoi(argv[4]);
	functions = (int (*const *)(int))dlsym(library, "busy_functions");
	count = *(const int *)dlsym(library, "busy_count");
	for (int at = 0; at < THREADS; at++)
		if (pthread_create(threads + at, NULL, run, rounds + at))
			return 2;
	wait_for_rounds();
	result = invar_bind(&module);
	__atomic_store_n(&is_bound, 1, __ATOMIC_RELEASE);
	wait_for_rounds();
	__atomic_store_n(&is_over, 1, __ATOMIC_RELAXED);
	for (int at = 0; at < THREADS; at++)
		pthread_join(threads[at], NULL);
	printf("binder\t%d\nwriters\t%d\nbound\t%u\nleft\t%u\n", result, module.outcome->writers, module.outcome->bound, module.outcome->left);
	printf("functions\t%d\nwrong\t%lu\nback\t%lu\nasked\t%lu\noff\t%lu\non\t%lu\n", count, wrong, back, asked, by_value[0], by_value[1]);
	return 0;
}
