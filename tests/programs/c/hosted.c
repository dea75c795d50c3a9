/* What a library in somebody else's process does, for the tests of hosts; ../hosted does the same in Rust, and says more. For C programs,
 * Java, Node and Redis: what only one of them has is referred to weakly. */
#define _GNU_SOURCE
#include "binder.h"
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/rseq.h>

enum { THREADS = 2, FUNCTIONS = 100, SETTLED = 7 };

static void is_on(struct invar_verdict *verdict) { verdict->value = 1; }
static void is_off(struct invar_verdict *verdict) { (void)verdict; }
INVAR_KEY(hosted_on, is_on);
INVAR_KEY(hosted_off, is_off);
INVAR_KEY_VALUES(hosted_width, is_on, "narrow\0wide", 2);

static int wide(void) { return 4; }
static int narrow(void) { return 0; }
INVAR_DISPATCH(static inline, int, by_width, (void), (), hosted_width, wide, narrow);

#define FUNCTION(n) \
	static __attribute__((noinline)) int look_##n(volatile unsigned *sections) \
	{ \
		int seen = by_width(); \
		invar_slice_enter(); \
		*sections += 1##n - 100; \
		invar_slice_leave(); \
		if (invar_branch(hosted_on)) \
			seen |= 1; \
		if (invar_branch(hosted_off)) \
			seen |= 128; \
		if (invar_branch_is(hosted_width, 1)) \
			seen |= 2; \
		return seen; \
	}
#define TEN(each, n) each(n##0) each(n##1) each(n##2) each(n##3) each(n##4) each(n##5) each(n##6) each(n##7) each(n##8) each(n##9)
#define HUNDRED(each) TEN(each, 0) TEN(each, 1) TEN(each, 2) TEN(each, 3) TEN(each, 4) \
	TEN(each, 5) TEN(each, 6) TEN(each, 7) TEN(each, 8) TEN(each, 9)
#define ADDRESS(n) look_##n,
HUNDRED(FUNCTION)
static int (*const functions[FUNCTIONS])(volatile unsigned *) = {HUNDRED(ADDRESS)};

static pthread_t handles[THREADS];
static unsigned long turns[THREADS], wrong, before_binding, at_load;
static int is_loaded, is_over;

/* This thread's request byte, outside of all critical sections. */
static int request(void)
{
	unsigned char byte;

	if (!__rseq_size)
		return 0;
	__asm__ volatile("movb %%fs:(%1), %0" : "=q"(byte) : "r"(__rseq_offset + 28));
	return byte;
}

/* Executes all functions once. Returns how much was wrong, for who has seen this before. */
static unsigned long turn(int *seen)
{
	int settled = __atomic_load_n(&is_loaded, __ATOMIC_SEQ_CST);
	volatile unsigned sections = 0;
	unsigned long mistakes = 0;

	for (int at = 0; at < FUNCTIONS; at++) {
		int now = functions[at](&sections);

		if ((now & ~SETTLED) || (*seen & ~now) || (settled && now != SETTLED))
			mistakes++;
		*seen = now;
	}
	return mistakes + (sections != 4950) + (request() != 0);
}

static void *work(void *own)
{
	int seen = 0;

	while (!__atomic_load_n(&is_over, __ATOMIC_SEQ_CST)) {
		__atomic_add_fetch(&wrong, turn(&seen), __ATOMIC_SEQ_CST);
		__atomic_add_fetch((unsigned long *)own, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static unsigned long all_turns(void)
{
	unsigned long sum = 0;

	for (int at = 0; at < THREADS; at++)
		sum += __atomic_load_n(turns + at, __ATOMIC_SEQ_CST);
	return sum;
}

/* For signal handlers and children: from nothing, and at any time. */
static unsigned long check(void)
{
	int seen = 0;

	return turn(&seen);
}

/* Tells a host that has such a function what it may execute, or that it no longer may. */
static void meet(unsigned long (*checks)(void))
{
	void (*meets)(unsigned long (*)(void)) = (void (*)(unsigned long (*)(void)))dlsym(RTLD_DEFAULT, "host_meets");

	if (meets)
		meets(checks);
}

static void begin(void)
{
	for (int at = 0; at < THREADS; at++) {
		if (pthread_create(handles + at, NULL, work, turns + at))
			__builtin_trap();
		while (!__atomic_load_n(turns + at, __ATOMIC_SEQ_CST))
			sched_yield();
	}
	meet(check);
	before_binding = all_turns();
}
__attribute__((used, section(".init_array.00001"))) static void (*const before_the_runtime)(void) = begin;

__attribute__((constructor)) static void loaded(void)
{
	at_load = all_turns();
	__atomic_store_n(&is_loaded, 1, __ATOMIC_SEQ_CST);
}

static unsigned long end(void)
{
	meet(NULL);
	__atomic_store_n(&is_over, 1, __ATOMIC_SEQ_CST);
	for (int at = 0; at < THREADS; at++)
		if (handles[at]) {
			pthread_join(handles[at], NULL);
			handles[at] = 0;
		}
	return __atomic_load_n(&wrong, __ATOMIC_SEQ_CST);
}

/* The site table, as the linker names its boundaries: docs/site-abi.md. */
extern INVAR_HIDDEN const char sites_begin[] __asm__("__start_invar2_sites"), sites_end[] __asm__("__stop_invar2_sites");

/* What a host can ask, as of the library in Rust. */
unsigned long hosted_ask(unsigned what)
{
	switch (what) {
	case 0: return check();
	case 1: return ((unsigned long)sites_end - (unsigned long)sites_begin) / 16;
	case 2: return ((const struct invar_outcome *)(const void *)&invar2_outcome)->bound;
	case 3: return at_load - before_binding;
	case 4: return end();
	case 5: return puts("end") < 0 || fflush(stdout);
	default: return -1UL;
	}
}

/* Java. */
int64_t Java_Library_ask(void *environment, void *class, int32_t what)
{
	(void)environment, (void)class;
	return (int64_t)hosted_ask((unsigned)what);
}

/* Node. */
#pragma weak napi_create_function
#pragma weak napi_get_cb_info
#pragma weak napi_get_value_uint32
#pragma weak napi_create_double
int napi_create_function(void *, const char *, size_t, void *(*)(void *, void *), void *, void **);
int napi_get_cb_info(void *, void *, size_t *, void **, void **, void **);
int napi_get_value_uint32(void *, void *, uint32_t *);
int napi_create_double(void *, double, void **);

static void *node_asks(void *environment, void *info)
{
	void *argument, *result = NULL;
	size_t count = 1;
	uint32_t what = 0;

	if (napi_get_cb_info(environment, info, &count, &argument, NULL, NULL) || napi_get_value_uint32(environment, argument, &what) ||
	    napi_create_double(environment, (double)hosted_ask(what), &result))
		__builtin_trap();
	return result;
}

void *napi_register_module_v1(void *environment, void *exports)
{
	void *function = NULL;

	(void)exports;
	if (napi_create_function(environment, "ask", (size_t)-1, node_asks, NULL, &function))
		__builtin_trap();
	return function;
}

/* Redis gives a module the function by which it finds all others (redismodule.h). */
static int (*redis_find)(const char *, void *);
static int (*redis_reply)(void *, long long);
static int (*redis_number)(void *, long long *);

static int redis_asks(void *context, void **arguments, int count)
{
	long long what = -1;

	if (count == 2)
		redis_number(arguments[1], &what);
	return redis_reply(context, (long long)hosted_ask((unsigned)what));
}

int RedisModule_OnLoad(void *context, void **arguments, int count)
{
	int (*initialise)(void *, const char *, int, int), (*command)(void *, const char *, int (*)(void *, void **, int), const char *, int, int, int);

	(void)arguments, (void)count;
	redis_find = (int (*)(const char *, void *))((void **)context)[0];
	redis_find("RedisModule_SetModuleAttribs", &initialise);
	redis_find("RedisModule_CreateCommand", &command);
	redis_find("RedisModule_ReplyWithLongLong", &redis_reply);
	redis_find("RedisModule_StringToLongLong", &redis_number);
	initialise(context, "hosted", 1, 1);
	return command(context, "hosted.ask", redis_asks, "", 0, 0, 0);
}
