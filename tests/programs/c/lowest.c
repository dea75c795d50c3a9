/* The binder in C, with modules that are laid out here: what a key becomes beside sealed ones of its name, in its own module and in
 * two others. Says value and origin of each case. */
#include "binder.c"
#include <stdio.h>
#include <string.h>

/* A module with two keys of one name, the last of which it decides. */
static struct module {
	uint32_t note[3];
	char owner[8];
	int32_t leads_to, more;
	struct own own;
	struct invar_key_record records[2];
	char names[32];
	struct invar_verdict states[2];
	struct invar_outcome came;
} modules[3];
static struct header headers[3][3];

static void probe(struct invar_verdict *verdict, const struct invar_key_record *record)
{
	verdict->value = 2;
	verdict->data = record->flags & TIMESLICE ? (uint32_t)-64 : 0;	/* where an area could be */
}

static void lead(int32_t *field, const volatile void *to) { *field = (int32_t)((uintptr_t)to - (uintptr_t)field); }

/* 0 to 2: sealed with this value; 3: by a probe that failed. */
static void key(struct module *module, int at, uint8_t flags, const char *names, size_t length, int sealed)
{
	struct invar_key_record *record = module->records + at;
	struct invar_verdict *state = module->states + at;

	lead(&record->state, state);
	lead(&record->names, module->names);
	lead(&record->probe, (const void *)(uintptr_t)probe);
	record->names_length = (uint16_t)length;
	record->values = 3;
	record->flags = flags;
	memcpy(module->names, names, length);
	if (sealed >= 0) {
		state->value = (uint8_t)(sealed % 3);
		state->origin = sealed == 3;
		state->status = SEALED;
	}
}

/* What becomes of a key whose twin is sealed like this, and one in each of both other modules; -1: not at all. */
static void decided(const char *what, uint8_t flags, int twin, int first, int second)
{
	static const char level[] = "level\0none\0some\0all", slice[] = "slice\0none\0some\0all";
	const char *names = flags & OWN ? slice : level;
	struct invar_module list[3];
	struct module *own = modules + 2;

	memset(modules, 0, sizeof modules);
	memset(list, 0, sizeof list);
	for (int at = 0; at < 3; at++) {
		struct module *module = modules + at;
		struct header *h = headers[at];

		memcpy(module->note, (uint32_t[]){ 6, 8, 2 }, sizeof module->note);
		memcpy(module->owner, "invar", 6);
		lead(&module->leads_to, &module->own);
		module->own = (struct own){ .magic = MAGIC, .version = 2, .length = sizeof module->own, .machine = 62 };
		for (int end = 0; end < 4; end++)
			lead(module->own.tables + end, module->records + (end == 3 ? 2 : 0));
		lead(&module->own.outcome, &module->came);
		lead(&module->own.code, (const void *)(uintptr_t)probe);
		module->own.address = (uintptr_t)probe;
		key(module, 0, flags, names, sizeof level, at == 2 ? twin : at ? second : first);
		if (at == 2)
			key(module, 1, flags, names, sizeof level, -1);
		h[0] = (struct header){ .type = PT_LOAD, .flags = PF_R | PF_W, .vaddr = (uintptr_t)module, .memsz = sizeof *module };
		h[1] = (struct header){ .type = PT_NOTE, .vaddr = (uintptr_t)module, .memsz = 28 };
		h[2] = (struct header){ .type = PT_LOAD, .flags = PF_R | PF_X, .vaddr = (uintptr_t)probe, .memsz = 1 };
		list[at].headers = h;
		list[at].count = 3;
		list[at].next = at < 2 ? list + at + 1 : NULL;
	}
	if (twin < 0)
		lead(&own->records[0].state, own->states + 1);
	list[2].modules = list;
	list[2].one_thread = 1;
	printf("%s\t%d: ", what, invar_bind(list + 2));
	printf("%d %d\n", own->states[1].value, own->states[1].origin);
}

int main(void)
{
	decided("a fact that nobody else has", PROVES, -1, -1, -1);
	decided("the second is lower", PROVES, -1, 2, 1);
	decided("the first is lower", PROVES, -1, 1, 2);
	decided("a twin is lower", PROVES, 1, 2, 2);
	decided("another is lower than a twin", PROVES, 2, 2, 1);
	decided("all of them differ", PROVES, 2, 1, 0);
	decided("no fact", 0, -1, 2, 1);
	decided("no fact, and a twin", 0, 1, 2, 0);
	decided("a failed twin", 0, 3, 2, 2);
	decided("a failed time slice key", SLICE | TIMESLICE | OWN, 3, -1, -1);
	return 0;
}
