/* The binder in C in front of a program, for LD_PRELOAD: its constructor runs before those of the modules that carry a runtime of their
 * own, as it is linked with -z initfirst, and binds them all; each runtime then finds its module bound, and leaves it. Some settings are obeyed as the runtime obeys
 * them, so that the same tests can be run with either. */
#define _GNU_SOURCE
#define INVAR_PORTABLE /* no sites in here */
#include "binder.h"
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/rseq.h>
#include <unistd.h>

static struct invar_module modules[64];
static size_t count;

static const char *setting(const char *name)
{
	const char *value = getenv(name);
	return value ? value : "";
}

/* What INVAR_KEYS says of a key; null if nothing. */
static const char *wanted(const char *key, size_t *length)
{
	const char *word = setting("INVAR_KEYS");
	size_t name = strlen(key);

	for (; *word; word += strcspn(word, ","), word += *word == ',')
		if (!strncmp(word, key, name) && word[name] == '=') {
			*length = strcspn(word + name + 1, ",");
			return word + name + 1;
		}
	return NULL;
}

static void decide(struct invar_verdict *verdict, const struct invar_key_record *record)
{
	const char *key = (const char *)invar_at(&record->names), *name = key + strlen(key) + 1;
	size_t length = 0;
	const char *value = wanted(key, &length);
	uint8_t chosen;

	if (record->flags & 4) {	/* a symbol's */
		((invar_decider)invar_at(&record->probe))(verdict, record);
		return;
	}
	if (value && record->flags & 8 && length == 5 && !strncmp(value, "force", 5)) {
		verdict->value = 1;
		verdict->origin = INVAR_ORIGIN_FORCED;
		verdict->data = (uint32_t)__rseq_offset | ~0ULL << 32;
		return;
	}
	for (chosen = 0; value && chosen < record->values && (strlen(name) != length || strncmp(name, value, length)); chosen++)
		name += strlen(name) + 1;
	if (!strcmp(setting("INVAR"), "off") || (value && chosen == 0)) {
		verdict->origin = INVAR_ORIGIN_SETTING;
		return;
	}
	((invar_decider)invar_at(&record->probe))(verdict, record);
	if (value && chosen < verdict->value) {
		verdict->value = chosen;
		verdict->origin = INVAR_ORIGIN_SETTING;
	}
}

static int list(struct dl_phdr_info *info, size_t size, void *unused)
{
	struct invar_module *module = modules + count;

	(void)size, (void)unused;
	if (count == sizeof modules / sizeof *modules)
		return 1;
	module->base = info->dlpi_addr;
	module->headers = info->dlpi_phdr;
	module->count = info->dlpi_phnum;
	/* The program has no name in the loader's list. Where there is no /proc, or the loader was executed and told to run the program, its path
	 * is with the auxiliary vector; but not for one with raised privileges, whose caller chose it. */
	module->path = *info->dlpi_name ? info->dlpi_name : "/proc/self/exe";
	if (!*info->dlpi_name && !getauxval(AT_SECURE) && (!getauxval(AT_BASE) || access(module->path, F_OK)))
		module->path = (const char *)getauxval(AT_EXECFN);
	if (count++)
		module[-1].next = module;
	return 0;
}

/* The loader gives constructors what main has. Libc's own may not have run yet. */
__attribute__((constructor)) static void bind_all(int argc, char **argv, char **variables)
{
	const char *writer;
	unsigned writers = INVAR_WRITER_SWAP | INVAR_WRITER_MEMFD | INVAR_WRITER_MPROTECT;
	size_t at;

	(void)argc, (void)argv;
	environ = variables;
	writer = setting("INVAR_WRITER");
	if (!strcmp(writer, "off") || !strcmp(setting("INVAR"), "off"))
		writers = 0;
	else if (!strcmp(writer, "swap"))
		writers = INVAR_WRITER_SWAP;
	else if (!strcmp(writer, "memfd"))
		writers = INVAR_WRITER_MEMFD;
	else if (!strcmp(writer, "mprotect"))
		writers = INVAR_WRITER_MPROTECT;
	dl_iterate_phdr(list, NULL);
	for (at = 0; at < count; at++) {
		modules[at].modules = modules;
		modules[at].writers = writers;
		modules[at].page = (size_t)sysconf(_SC_PAGESIZE);
		/* Where libc registered an area, its request byte is there in every thread. */
		modules[at].spare_request = __rseq_size ? (int32_t)__rseq_offset + 28 : 0;
		modules[at].decide = decide;
		invar_bind(modules + at);
	}
}
