/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The loader has bound modules to this library's functions before any code of it could run. An IFUNC would be asked earlier,
 * but not early enough: glibc relocates the libraries behind a preloaded one first, and writes "Relink" to standard error
 * for each IFUNC of a library that is not relocated itself (glibc 2.36, sysdeps/x86_64/dl-machine.h, elf_machine_rela). So
 * what is bound is bound again here, and what is not bound yet finds no symbol.
 */
#define _GNU_SOURCE /* dladdr1, dl_iterate_phdr */
#include "withdraw.h"

#if IS_IN_FRONT

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc alone has it. Without it the symbols stay, and calls by dlsym(3) pass through. */
#pragma weak dladdr1

/* Relocations by which the loader stores the address of a function. */
#if defined __x86_64__
#define STORES_ADDRESS(type) ((type) == R_X86_64_JUMP_SLOT || (type) == R_X86_64_GLOB_DAT || (type) == R_X86_64_64)
#elif defined __aarch64__
#define STORES_ADDRESS(type) ((type) == R_AARCH64_JUMP_SLOT || (type) == R_AARCH64_GLOB_DAT || (type) == R_AARCH64_ABS64)
#elif defined __riscv /* where R_RISCV_64 fills the GOT too */
#define STORES_ADDRESS(type) ((type) == R_RISCV_JUMP_SLOT || (type) == R_RISCV_64)
#else
#error "which relocations store an address?"
#endif

struct task {
	const struct replacement *replacements;
	size_t count;
	uintptr_t page;			/* the size of one */
	int error;
};

/* A part of memory, from its first byte to the one behind its last. */
struct range {
	uintptr_t from, to;
};

static bool holds(struct range range, uintptr_t address)
{
	return range.from <= address && address < range.to;
}

/* As the loader protects it once it has relocated the module: whole pages only. */
static struct range relro(const struct dl_phdr_info *module, uintptr_t page)
{
	struct range range = { 0, 0 };

	for (int at = 0; at < module->dlpi_phnum; at++) {
		const ElfW(Phdr) *header = &module->dlpi_phdr[at];

		if (header->p_type == PT_GNU_RELRO) {
			range.from = (module->dlpi_addr + header->p_vaddr) & -page;
			range.to = (module->dlpi_addr + header->p_vaddr + header->p_memsz) & -page;
		}
	}
	return range;
}

/* The protection of the memory at this address, as the module's file has it; PROT_NONE where the module has none. */
static int protection(const struct dl_phdr_info *module, uintptr_t page, uintptr_t address)
{
	for (int at = 0; at < module->dlpi_phnum; at++) {
		const ElfW(Phdr) *header = &module->dlpi_phdr[at];
		uintptr_t from = module->dlpi_addr + header->p_vaddr;

		if (header->p_type == PT_LOAD && holds((struct range){ from, from + header->p_memsz }, address)) {
			if (holds(relro(module, page), address))
				return PROT_READ;
			return (header->p_flags & PF_R ? PROT_READ : 0) | (header->p_flags & PF_W ? PROT_WRITE : 0) |
			       (header->p_flags & PF_X ? PROT_EXEC : 0);
		}
	}
	return PROT_NONE;
}

/* Stores a word in a module, in one store: other threads may read it meanwhile. Never where code is, which would have to stop
 * being executable for a moment, and where a filter may refuse to make it executable again. */
static void store(struct task *task, const struct dl_phdr_info *module, uintptr_t *word, uintptr_t value)
{
	int before = protection(module, task->page, (uintptr_t)word);
	void *start = (void *)((uintptr_t)word & -task->page);

	if (!(before & PROT_READ) || before & PROT_EXEC) {
		task->error = EACCES;
		return;
	}
	if (!(before & PROT_WRITE) && mprotect(start, task->page, PROT_READ | PROT_WRITE)) {
		task->error = errno;
		return;
	}
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
	if (!(before & PROT_WRITE))
		mprotect(start, task->page, before);
}

/* Where the pointers that these relocations store lead to a function of this library, they lead to the one behind. */
static void rebind(struct task *task, const struct dl_phdr_info *module, const ElfW(Rela) *relocation, size_t size)
{
	for (; size >= sizeof *relocation; size -= sizeof *relocation, relocation++) {
		uintptr_t *word = (uintptr_t *)(module->dlpi_addr + relocation->r_offset);

		if (!STORES_ADDRESS(ELF64_R_TYPE(relocation->r_info)) || (uintptr_t)word % sizeof *word)
			continue;
		for (size_t at = 0; at < task->count; at++) {
			const struct replacement *replacement = &task->replacements[at];

			if (*word == (uintptr_t)replacement->own && replacement->behind)
				store(task, module, word, (uintptr_t)replacement->behind);
		}
	}
}

/* An address in a dynamic section: glibc has added the module's on most architectures, and not in the kernel's own library. */
static const void *address(const struct dl_phdr_info *module, ElfW(Addr) value)
{
	return (const void *)(value < module->dlpi_addr ? value + module->dlpi_addr : value);
}

static int rebind_module(struct dl_phdr_info *module, size_t size, void *argument)
{
	const ElfW(Dyn) *entry = NULL;
	const void *relocations = NULL, *jumps = NULL;
	size_t relocations_size = 0, jumps_size = 0;

	(void)size;
	for (int at = 0; at < module->dlpi_phnum; at++)
		if (module->dlpi_phdr[at].p_type == PT_DYNAMIC)
			entry = (const void *)(module->dlpi_addr + module->dlpi_phdr[at].p_vaddr);
	for (; entry && entry->d_tag != DT_NULL; entry++) {
		switch (entry->d_tag) {
		case DT_RELA:
			relocations = address(module, entry->d_un.d_ptr);
			break;
		case DT_RELASZ:
			relocations_size = entry->d_un.d_val;
			break;
		case DT_JMPREL:
			jumps = address(module, entry->d_un.d_ptr);
			break;
		case DT_PLTRELSZ:
			jumps_size = entry->d_un.d_val;
			break;
		}
	}
	rebind(argument, module, relocations, relocations ? relocations_size : 0);
	rebind(argument, module, jumps, jumps ? jumps_size : 0);
	return 0;
}

/* Without a value, a symbol is one that the loader passes by (glibc 2.36, elf/dl-lookup.c, check_match). */
static int hide_in_module(struct dl_phdr_info *module, size_t size, void *argument)
{
	struct task *task = argument;

	(void)size;
	if (protection(module, task->page, (uintptr_t)hide_in_module) == PROT_NONE)
		return 0;
	for (size_t at = 0; at < task->count; at++) {
		const ElfW(Sym) *symbol = NULL;
		Dl_info found;

		if (dladdr1 && dladdr1(task->replacements[at].own, &found, (void **)&symbol, RTLD_DL_SYMENT) && symbol &&
		    module->dlpi_addr + symbol->st_value == (uintptr_t)task->replacements[at].own)
			store(task, module, (uintptr_t *)&symbol->st_value, 0);
	}
	return 1;
}

int withdraw(const struct replacement *replacements, size_t count)
{
	struct task task = { replacements, count, (uintptr_t)sysconf(_SC_PAGESIZE), 0 };

	/* First the symbols: what is bound from then on is bound to what is behind. */
	dl_iterate_phdr(hide_in_module, &task);
	dl_iterate_phdr(rebind_module, &task);
	return task.error;
}

#endif
