/* odd_text LIBRARY WRITERS PATH [change]: opens the library of busy.c, and binds it by these writers, with PATH for the file that it is mapped
 * from; none if that is empty. Before that it may put a breakpoint on a function that nobody calls. Says what came of it. */
#define _GNU_SOURCE
#define INVAR_PORTABLE /* no sites in here */
#include "binder.h"
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const char *library_path;

int invar_load(const struct invar_module_ *module)
{
	(void)module;
	return INVAR_OK;
}

static void decide(struct invar_verdict *verdict, const struct invar_key_record *record)
{
	verdict->value = strstr((const char *)invar_at(&record->names), "busy") != NULL;
}

static int find(struct dl_phdr_info *info, size_t size, void *module)
{
	struct invar_module *it = module;

	(void)size;
	if (strcmp(info->dlpi_name, library_path))
		return 0;
	it->base = info->dlpi_addr;
	it->headers = info->dlpi_phdr;
	it->count = info->dlpi_phnum;
	return 1;
}

/* How much memory is mapped. */
static unsigned long mapped(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end, sum = 0;
	char line[4096];

	while (maps && fgets(line, sizeof line, maps))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2)
			sum += end - start;
	if (maps)
		fclose(maps);
	return sum;
}

int main(int argc, char **argv)
{
	struct invar_module module = { .decide = decide, .one_thread = 1 };
	void *library;
	volatile uint8_t *spare;
	int (*const *functions)(int);
	int result, count, wrong = 0;
	unsigned long before;

	if (argc < 4)
		return 2;
	library_path = argv[1];
	library = dlopen(argv[1], RTLD_NOW);
	if (!library || !dl_iterate_phdr(find, &module))
		return 2;
	module.writers = (unsigned)atoi(argv[2]);
	module.path = *argv[3] ? argv[3] : NULL;
	spare = dlsym(library, "busy_spare");
	if (argc > 4) {
		char *page = (char *)((uintptr_t)spare & ~4095UL);

		if (mprotect(page, 4096, PROT_READ | PROT_WRITE))
			return 2;
		*spare = 0xcc;
		if (mprotect(page, 4096, PROT_READ | PROT_EXEC))
			return 2;
	}
	mapped();	/* libc takes memory for the first file */
	before = mapped();
	result = invar_bind(&module);
	before -= mapped();
	functions = (int (*const *)(int))dlsym(library, "busy_functions");
	count = *(const int *)dlsym(library, "busy_count");
	for (int at = 0; at < count; at++)
		wrong += functions[at](at) != at + 2;
	printf("binder\t%d %u\nwriters\t%d\nbound\t%u\nleft\t%u\n", result, module.outcome->detail, module.outcome->writers, module.outcome->bound,
	       module.outcome->left);
	printf("wrong\t%d\nspare\t%s\nmapped\t%s\n", wrong, *spare == 0xcc ? "a breakpoint" : "as it was", before ? "other than before" : "as before");
	return 0;
}
