/*
 * What LTTng-UST's library would do where it stores to the states of tracepoints: it sets their switches too.
 *
 * It stands in front of liblttng-ust-tracepoint, preloaded or linked: liblttng-ust enables and disables events by the functions
 * below. The states have been stored to when they return, and the switches of modules that are compiled with the patch follow.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <invar.h>
#include <lttng/tracepoint-types.h>

/* A module's tracepoints, and what their switches were set to. */
struct module {
	struct module *next;
	struct lttng_ust_tracepoint *const *tracepoints;
	int count;
	char is_on[];
};

static struct module *modules;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

enum { MOST = 64, LONGEST = sizeof "lttng_ust_tracepoint____" + 256 };

/* Switches that are to be set at once. */
struct batch {
	size_t count;
	struct invar_setting settings[MOST];
	char names[MOST][LONGEST], *is_on[MOST];
};

static void set(struct batch *batch)
{
	int code = batch->count ? invar_set_all(batch->settings, batch->count) : INVAR_OK;

	/* Each alone, so that one that cannot be set keeps back no other. What was not set is tried again at the next change. */
	for (size_t at = 0; at < batch->count; at++) {
		int alone = code == INVAR_OK ? code : invar_set_all(&batch->settings[at], 1);

		if (alone == INVAR_OK)
			*batch->is_on[at] = !*batch->is_on[at];
		else
			fprintf(stderr, "lttng-ust: %s is not set to %s: %s\n", batch->settings[at].name,
				batch->settings[at].value, invar_strerror(alone));
	}
	batch->count = 0;
}

static void follow(void)
{
	static struct batch batch;

	if (!invar_set_all)
		return;
	pthread_mutex_lock(&lock);
	for (struct module *module = modules; module; module = module->next)
		for (int at = 0; at < module->count; at++) {
			const struct lttng_ust_tracepoint *tracepoint = module->tracepoints[at];
			int is_on = tracepoint && __atomic_load_n(&tracepoint->state, __ATOMIC_RELAXED);
			char *name = batch.names[batch.count];

			if (is_on == module->is_on[at])
				continue;
			snprintf(name, LONGEST, "lttng_ust_tracepoint_%s___%s", tracepoint->provider_name, tracepoint->event_name);
			batch.settings[batch.count] = (struct invar_setting){ name, is_on ? "on" : "off" };
			batch.is_on[batch.count] = &module->is_on[at];
			if (++batch.count == MOST)
				set(&batch);
		}
	set(&batch);
	pthread_mutex_unlock(&lock);
}

/* Called by each module when it is loaded, after its tracepoints are registered. */
void lttng_ust_switches_register(struct lttng_ust_tracepoint *const *tracepoints, int count)
{
	struct module *module = calloc(1, sizeof *module + (size_t)count);

	if (!module) {
		fprintf(stderr, "lttng-ust: no memory to set the switches of %d tracepoints\n", count);
		return;
	}
	module->tracepoints = tracepoints;
	module->count = count;
	pthread_mutex_lock(&lock);
	module->next = modules;
	modules = module;
	pthread_mutex_unlock(&lock);
	follow();
}

void lttng_ust_switches_unregister(struct lttng_ust_tracepoint *const *tracepoints)
{
	pthread_mutex_lock(&lock);
	for (struct module **at = &modules; *at; at = &(*at)->next)
		if ((*at)->tracepoints == tracepoints) {
			struct module *module = *at;

			*at = module->next;
			free(module);
			break;
		}
	pthread_mutex_unlock(&lock);
}

/* In front of liblttng-ust-tracepoint, which this library is linked to. Its functions are looked up when this is loaded, or before, at the
 * program's start: later liblttng-ust's constructor may have the loader's lock while it waits for the thread that calls them. */
#define FOLLOWS(type, name, parameters, arguments) \
	static type(*next_##name) parameters; \
	type name parameters \
	{ \
		type result; \
\
		look_up(); \
		result = next_##name arguments; \
		follow(); \
		return result; \
	}
__attribute__((constructor)) static void look_up(void);
FOLLOWS(int, lttng_ust_tp_probe_register_queue_release,
	(const char *provider, const char *event, void (*function)(void), void *data, const char *signature),
	(provider, event, function, data, signature))
FOLLOWS(int, lttng_ust_tp_probe_unregister_queue_release,
	(const char *provider, const char *event, void (*function)(void), void *data), (provider, event, function, data))

#define LOOK_UP(name) \
	if (!__atomic_load_n(&next_##name, __ATOMIC_ACQUIRE)) \
		__atomic_store_n((void **)&next_##name, dlsym(RTLD_NEXT, #name), __ATOMIC_RELEASE)
static void look_up(void)
{
	LOOK_UP(lttng_ust_tp_probe_register_queue_release);
	LOOK_UP(lttng_ust_tp_probe_unregister_queue_release);
}
