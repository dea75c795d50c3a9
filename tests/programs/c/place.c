/* Changes the process in front of everything else, as it is preloaded and its constructor runs before those of modules with sites: a
 * place that no parent can make for its child. PLACE has one of
 *
 * sealed           the program's text is sealed (mseal)
 * locked           it is locked in memory
 * all-locked N     all memory is locked, what is mapped later as well, and N pages more may be
 * huge             anonymous memory with the same bytes is in its place, as in programs that move their text to huge pages
 * reserved         so are huge pages that the administrator has reserved (hugetlb), as far as whole ones lie in the text
 * noexec FOLDER    what is mounted there is mounted again, without the right to execute
 * removed FILE     the file is removed, which is mapped by now
 * replaced NEW FILE  the new file takes its place
 * as N, data N     while modules are loaded no more than N pages more may be mapped, or have data
 *
 * When main begins, limits are as they were, and a line says how much of the text is locked: at first, and now. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_mseal
#define SYS_mseal 462
#endif

static char *text;
static size_t length;
static long locked;
static int limited = -1;

static void check(int right, const char *what)
{
	if (!right) {
		perror(what);
		_exit(77);
	}
}

/* The program's text, which is the first of all objects. */
static int find(struct dl_phdr_info *info, size_t size, void *nothing)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	(void)size, (void)nothing;
	for (int at = 0; at < info->dlpi_phnum; at++) {
		const ElfW(Phdr) *segment = info->dlpi_phdr + at;
		uintptr_t start = info->dlpi_addr + segment->p_vaddr;
		if (segment->p_type == PT_LOAD && segment->p_flags & PF_X) {
			text = (char *)(start & ~(page - 1));
			length = ((start + segment->p_memsz + page - 1) & ~(page - 1)) - (uintptr_t)text;
		}
	}
	return 1;
}

/* A number of /proc/self/status, in KiB. */
static long status(const char *name)
{
	char line[256];
	long value = -1;
	FILE *file = fopen("/proc/self/status", "r");

	check(file != NULL, "/proc/self/status");
	while (fgets(line, sizeof line, file))
		if (!strncmp(line, name, strlen(name)))
			value = strtol(line + strlen(name), NULL, 10);
	fclose(file);
	return value;
}

/* How much of the text is in mappings that are locked in memory, in KiB: of what "Locked" says, other processes that have the same
 * pages take their share away. */
static long locked_text(void)
{
	char line[512];
	long value = 0, here = 0, size = 0;
	uintptr_t start, end;
	FILE *file = fopen("/proc/self/smaps", "r");

	if (!file)
		return -1;
	while (fgets(line, sizeof line, file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start < (uintptr_t)text + length && (uintptr_t)text < end;
		else if (here && !strncmp(line, "Rss:", 4))
			size = strtol(line + 4, NULL, 10);
		else if (here && !strncmp(line, "VmFlags:", 8) && strstr(line, " lo"))
			value += size;
	}
	fclose(file);
	return value;
}

static void limit(int resource, long bytes)
{
	struct rlimit limit;

	check(!getrlimit(resource, &limit), "getrlimit");
	limited = resource;
	limit.rlim_cur = (rlim_t)bytes;
	check(!setrlimit(resource, &limit), "setrlimit");
}

/* NEW FILE: as package managers do it. */
static void take_place(const char *names)
{
	char new[4096];
	const char *file = strchr(names, ' ');

	check(file && (size_t)(file - names) < sizeof new, names);
	memcpy(new, names, (size_t)(file - names));
	new[file - names] = 0;
	check(!rename(new, file + 1), file + 1);
}

static void huge(void)
{
	enum { HUGE = 2 << 20 };
	size_t all = length + 2 * HUGE;
	char *memory = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(memory != MAP_FAILED, "mmap");
	/* As far into a huge page as the text is. */
	char *copy = memory + (((uintptr_t)text - (uintptr_t)memory) & (HUGE - 1));
	madvise(copy, length, MADV_HUGEPAGE);
	memcpy(copy, text, length);
	check(!mprotect(copy, length, PROT_READ | PROT_EXEC), "mprotect");
	check(mremap(copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, text) == text, "mremap");
}

static void reserved(void)
{
	enum { HUGE = 2 << 20 };
	char *start = (char *)(((uintptr_t)text + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	char *end = (char *)((uintptr_t)(text + length) & ~(uintptr_t)(HUGE - 1));
	size_t all = start < end ? (size_t)(end - start) : 0;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
	char *memory = mmap(NULL, all, PROT_READ | PROT_WRITE, flags, -1, 0);
	check(memory != MAP_FAILED, "mmap");
	memcpy(memory, start, all);
	check(!mprotect(memory, all, PROT_READ | PROT_EXEC), "mprotect");
	check(mremap(memory, all, all, MREMAP_MAYMOVE | MREMAP_FIXED, start) == start, "mremap");
}

__attribute__((constructor(101))) static void begin(int argc, char **argv, char **variables)
{
	const char *place = NULL, *rest;

	(void)argc, (void)argv;
	/* Libc's own constructor may not have run yet. */
	for (; *variables; variables++)
		if (!strncmp(*variables, "PLACE=", 6))
			place = *variables + 6;
	if (!place)
		return;
	dl_iterate_phdr(find, NULL);
	rest = strchr(place, ' ');
	rest = rest ? rest + 1 : "0";
	if (!strcmp(place, "sealed"))
		check(!syscall(SYS_mseal, text, length, 0), "mseal");
	else if (!strcmp(place, "locked"))
		check(!mlock(text, length), "mlock");
	else if (!strcmp(place, "huge"))
		huge();
	else if (!strcmp(place, "reserved"))
		reserved();
	else if (!strncmp(place, "removed ", 8))
		check(!unlink(rest), rest);
	else if (!strncmp(place, "replaced ", 9))
		take_place(rest);
	else if (!strncmp(place, "noexec ", 7))
		check(!mount(NULL, rest, NULL, MS_REMOUNT | MS_BIND | MS_NOEXEC, NULL), "mount");
	else if (!strncmp(place, "all-locked ", 11)) {
		check(!mlockall(MCL_CURRENT | MCL_FUTURE), "mlockall");
		limit(RLIMIT_MEMLOCK, (status("VmLck:") + 4 * atol(rest)) * 1024);
	} else if (!strncmp(place, "as ", 3))
		limit(RLIMIT_AS, (status("VmSize:") + 4 * atol(rest)) * 1024);
	else if (!strncmp(place, "data ", 5))
		limit(RLIMIT_DATA, (status("VmData:") + 4 * atol(rest)) * 1024);
	else
		check(0, place);
	locked = locked_text();
}

static int (*program)(int, char **, char **);

static int main_of_it(int argc, char **argv, char **variables)
{
	struct rlimit limit;

	if (limited >= 0) {
		check(!getrlimit(limited, &limit), "getrlimit");
		limit.rlim_cur = limit.rlim_max;
		check(!setrlimit(limited, &limit), "setrlimit");
	}
	printf("held\tlocked\t%ld\t%ld\n", locked, locked_text());
	fflush(stdout);
	return program(argc, argv, variables);
}

/* In front of libc's: the program's own constructors run there, and then main. */
int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void), void (*fini)(void), void (*rtld)(void), void *stack)
{
	int (*real)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

	*(void **)&real = dlsym(RTLD_NEXT, "__libc_start_main");
	program = main;
	return real(main_of_it, argc, argv, init, fini, rtld, stack);
}
