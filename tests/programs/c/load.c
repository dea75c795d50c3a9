/* The binder in C in the place of libinvar: what the header's constructors call. Says what came of it. With the variable WITH_A_THREAD it
 * has another thread beside it, and with IN_PLACE the writer mprotect only. */
#define _GNU_SOURCE
#define INVAR_PORTABLE /* no sites in here */
#include "binder.h"
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *idle(void *nothing)
{
	for (;;)
		pause();
	return nothing;
}

static int is_it(struct dl_phdr_info *info, size_t size, void *module_header)
{
	struct invar_module module = {
		.base = info->dlpi_addr, .headers = info->dlpi_phdr, .count = info->dlpi_phnum,
		.path = *info->dlpi_name ? info->dlpi_name : "/proc/self/exe",
		.page = (size_t)sysconf(_SC_PAGESIZE),
		.writers = getenv("IN_PLACE") ? INVAR_WRITER_MPROTECT : INVAR_WRITER_SWAP,
	};
	const ElfW(Phdr) *header;
	int result, next;

	(void)size;
	for (header = info->dlpi_phdr; header < info->dlpi_phdr + info->dlpi_phnum; header++)
		if (header->p_type == PT_LOAD && (uintptr_t)module_header - (info->dlpi_addr + header->p_vaddr) < header->p_memsz) {
			next = dup(0);
			close(next);
			result = invar_bind(&module);
			printf("binder\t%d %u bound, %u left, detail %u\n", result, module.outcome->bound, module.outcome->left, module.outcome->detail);
			result = dup(0);
			close(result);
			printf("next descriptor\t%s\n", result == next ? "the same" : "another");
			return 1;
		}
	return 0;
}

int invar_load(const struct invar_module_ *module)
{
	pthread_t thread;

	if (getenv("WITH_A_THREAD") && pthread_create(&thread, NULL, idle, NULL))
		return 0;
	return dl_iterate_phdr(is_it, (void *)module);
}
