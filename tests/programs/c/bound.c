/* Where the pointers of each module lead, by which it calls locks: a line for each, with the module, the function, and the
 * module of the address. Compiled with LIBRARY it is the library that the program opens, by the name that it is given. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <threads.h>

/* A pointer that is data, and calls. */
static int (*volatile in_data)(pthread_rwlock_t *) = pthread_rwlock_wrlock;

#ifdef LIBRARY
#define USE use_in_library
#else
#define USE use
#endif

int USE(void);
int USE(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
	pthread_spinlock_t spin;
	mtx_t c11;
	struct timespec past = { 1, 0 };
	int failed = 0;

	pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
	mtx_init(&c11, mtx_plain);
	failed |= pthread_mutex_lock(&mutex);
	failed |= !pthread_cond_timedwait(&condition, &mutex, &past);
	failed |= pthread_mutex_unlock(&mutex);
	failed |= in_data(&rwlock);
	failed |= pthread_rwlock_unlock(&rwlock);
	failed |= pthread_spin_lock(&spin) | pthread_spin_unlock(&spin);
	failed |= mtx_lock(&c11) | mtx_unlock(&c11);
	return failed;
}

#ifdef LIBRARY

/* Of a library that the program needs, this comes before the constructor of a library that is preloaded. */
__attribute__((constructor)) static void use_early(void)
{
	use_in_library();
}

#else

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool is_lock(const char *name)
{
	static const char *const prefixes[] = { "pthread_mutex_lock",	  "pthread_mutex_unlock", "pthread_spin_lock",
						"pthread_spin_unlock",	  "pthread_rwlock_wrlock", "pthread_rwlock_unlock",
						"pthread_cond_timedwait", "mtx_lock",		  "mtx_unlock" };

	for (size_t at = 0; at < sizeof prefixes / sizeof *prefixes; at++)
		if (!strcmp(name, prefixes[at]))
			return true;
	return false;
}

static int list(struct dl_phdr_info *module, size_t size, void *argument)
{
	const ElfW(Dyn) *entry = NULL;
	const ElfW(Sym) *symbols = NULL;
	const char *names = NULL;
	uintptr_t tables[2] = { 0, 0 };
	size_t sizes[2] = { 0, 0 };

	(void)size, (void)argument;
	for (int at = 0; at < module->dlpi_phnum; at++)
		if (module->dlpi_phdr[at].p_type == PT_DYNAMIC)
			entry = (const void *)(module->dlpi_addr + module->dlpi_phdr[at].p_vaddr);
	for (; entry && entry->d_tag; entry++) {
		uintptr_t value = entry->d_un.d_ptr, address = value < module->dlpi_addr ? value + module->dlpi_addr : value;

		switch (entry->d_tag) {
		case DT_SYMTAB:
			symbols = (const void *)address;
			break;
		case DT_STRTAB:
			names = (const void *)address;
			break;
		case DT_RELA:
			tables[0] = address;
			break;
		case DT_RELASZ:
			sizes[0] = value;
			break;
		case DT_JMPREL:
			tables[1] = address;
			break;
		case DT_PLTRELSZ:
			sizes[1] = value;
			break;
		}
	}
	for (int table = 0; table < 2; table++) {
		const ElfW(Rela) *relocation = (const void *)tables[table];

		for (size_t left = sizes[table] / sizeof *relocation; left && tables[table]; left--, relocation++) {
			const ElfW(Sym) *symbol = &symbols[ELF64_R_SYM(relocation->r_info)];
			const char *name = names + symbol->st_name;
			void **word = (void **)(module->dlpi_addr + relocation->r_offset);
			Dl_info owner;

			if (ELF64_R_SYM(relocation->r_info) && is_lock(name) && dladdr(*word, &owner))
				printf("%s\t%s\t%s\n", *module->dlpi_name ? base_name(module->dlpi_name) : "program", name,
				       base_name(owner.dli_fname));
		}
	}
	return 0;
}

int main(int count, char **arguments)
{
	void *library = count > 1 ? dlopen(arguments[1], RTLD_NOW) : NULL;
	int (*use_library)(void) = library ? (int (*)(void))dlsym(library, "use_in_library") : NULL;
	Dl_info owner;

	if (use() || !use_library || use_library())
		return 1;
	dl_iterate_phdr(list, NULL);
	/* And what dlsym finds. */
	if (dladdr(dlsym(RTLD_DEFAULT, "pthread_mutex_lock"), &owner))
		printf("dlsym\tpthread_mutex_lock\t%s\n", base_name(owner.dli_fname));
	return 0;
}

#endif
