/* SPDX-License-Identifier: MIT OR Apache-2.0
 * In the order of docs/site-abi.md: note, header, keys, forms, binding. What is the machine's own is in a file beside this one. */
#define INVAR_PORTABLE /* no sites in here */
#include "binder.h"

struct header { uint32_t type, flags; uint64_t offset, vaddr, paddr, filesz, memsz, align; };
/* A module's own: distances to the tables, the outcome, the ELF header and a piece of code, and where that is. */
struct own { uint64_t magic; uint32_t version; uint16_t length, machine; uint32_t flags; int32_t tables[4], outcome, elf_header, code; uint64_t address; };
struct site_record { int32_t site, target, state; uint8_t length, kind, value, flags; };
struct tables { const struct own *own; const struct site_record *sites; const struct invar_key_record *keys; size_t sites_count, keys_count; struct invar_outcome *outcome; };
typedef volatile uint64_t __attribute__((may_alias)) word;
typedef uint32_t __attribute__((may_alias)) half;
__extension__ typedef unsigned __int128 code;	/* the first byte of a site is the lowest */
static const struct invar_verdict blank;
enum { PT_LOAD = 1, PT_NOTE = 4, PT_GNU_STACK = 0x6474e551, PT_GNU_RELRO = 0x6474e552, PF_X = 1, PF_W = 2, PF_R = 4, SEALED = 2, BEGUN = 1 << 8 /* a status */, PROVES = 1, SLICE = 2, SYMBOL = 4, TIMESLICE = 8, OWN = 16, SWITCH = 32 };
enum { BRANCH = 1, SLICE_ENTER = 2, SLICE_LEAVE = 3, EIO = 5, EINTR = 4, EFAULT = 14, EBUSY = 16, EINVAL = 22, EFBIG = 27 };
enum { SETTING = 1, THREADS = 3, THREADS_UNKNOWN = 4, REFUSED = 5, WRITABLE = 6, REWRITTEN = 7, UNREADABLE = 8, OTHER_FILE = 10, CHANGED = 11 };
#define WHY(reason, detail) (-((long)(reason) << 32 | (long)(detail)))	/* what writers give in the place of a negative error number */
#define MAGIC 0x0a0d7261766e6989	/* 89, invar, CR, LF */
#define EACH_HEADER(h, m) for (const struct header *h = (m)->headers, *h##_end = h + (m)->count; h < h##_end; h++)

/* The outcome's number for a distance, and the distance for a number: 0, as which memory begins, is no place. */
static uint32_t place(uint32_t request) { return request ^ 1U << 31; }

#if defined __x86_64__
#include "x86_64.h"
#elif defined __aarch64__
#include "aarch64.h"
#else
#include "riscv64.h"
#endif

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	long result = -EINTR;
	while (result == -EINTR) result = system_call(number, a, b, c, d, e, f);
	return result;
}

/* Volatile, here and below, so that no compiler makes a call of a loop. */
static int same(const volatile void *memory, const void *bytes, size_t length)
{
	while (length && ((const volatile uint8_t *)memory)[length - 1] == ((const uint8_t *)bytes)[length - 1]) length--;
	return length == 0;
}

/* The flags of the segment that holds this range whole and has these; 0 if none does, or the range is not writable for long (RELRO). */
static uint32_t holds(const struct invar_module *m, uintptr_t at, uint64_t length, uint32_t flags)
{
	uint32_t found = 0;
	EACH_HEADER(h, m) {
		uint64_t from = at - (m->base + h->vaddr);
		if (h->type == PT_LOAD && (h->flags & flags) == flags && from <= h->memsz && length <= h->memsz - from) found = h->flags;
		if (h->type == PT_GNU_RELRO && flags & PF_W && (from < h->memsz || -from < length)) return 0;
	}
	return found;
}

/* The records of 16 bytes between two distances; null if they are not the module's. */
static const void *table(const struct invar_module *m, const int32_t *field, size_t *count)
{
	uintptr_t start = invar_at(field), stop = invar_at(field + 1);
	*count = (stop - start) / 16;
	return stop < start || (*count && (start % 4 || !holds(m, start, *count * 16, PF_R))) ? 0 : *count ? (const void *)start : m;
}

/* Whether a header that can be used is here; then also what it leads to. */
static int is_own(const struct invar_module *m, uintptr_t at, struct tables *t)
{
	const struct own *own = t->own = (const struct own *)at;
	if (at % 8 || !holds(m, at, sizeof *own, PF_R) || own->magic != MAGIC || own->version != 2 || own->length != sizeof *own || own->machine != MACHINE || own->flags)
		return 0;
	t->sites = table(m, own->tables, &t->sites_count);
	t->keys = table(m, own->tables + 2, &t->keys_count);
	t->outcome = (struct invar_outcome *)invar_at(&own->outcome);
	return t->sites && t->keys && (uintptr_t)t->outcome % 8 == 0 && holds(m, (uintptr_t)t->outcome, sizeof *t->outcome, PF_R | PF_W);
}

/* A note leads to the header. Where none begins there, a tool has moved the note, and the header is somewhere in the data. */
static int find_own(const struct invar_module *m, uintptr_t at, struct tables *t)
{
	if (at % 8 == 0 && holds(m, at, sizeof(struct own), PF_R) && *(const word *)at == MAGIC)
		return is_own(m, at, t);
	EACH_HEADER(h, m) {
		uintptr_t start = (m->base + h->vaddr + 7) & ~7UL, end = m->base + h->vaddr + h->filesz;
		for (int data = h->type == PT_LOAD && h->flags & PF_R && h->flags & PF_W; data && start + 8 <= end; start += 8)
			if (*(const word *)start == MAGIC && is_own(m, start, t))
				return 1;
	}
	return 0;
}

static int find_tables(const struct invar_module *m, struct tables *t)
{
	EACH_HEADER(h, m) {
		const uint32_t *note = (const uint32_t *)(m->base + h->vaddr);
		uint64_t left = h->type == PT_NOTE && holds(m, (uintptr_t)note, h->memsz, PF_R) ? h->memsz : 0, length;
		for (; left >= 12; left -= length, note += length / 4) {
			length = 12 + ((note[0] + 3ULL) & ~3ULL) + ((note[1] + 3ULL) & ~3ULL);
			if (length > left)
				break;
			if (note[0] == 6 && note[1] == 8 && note[2] == 2 && same(note + 3, "invar", 6))
				return find_own(m, invar_at((const int32_t *)note + 5), t);
		}
	}
	return 0;
}

/* Whether a tool has moved code after it was linked: then a table leads to where the code no longer is. */
static int is_rewritten(const struct invar_module *m, const struct own *own)
{
	uintptr_t outcome = (uintptr_t)m->outcome, headers = (uintptr_t)m->headers;
	int before = 0, behind = 0, with_headers = 0, stack = 0;
	EACH_HEADER(h, m) {
		uintptr_t start = m->base + h->vaddr;
		int text = h->type == PT_LOAD && h->flags & PF_X;
		stack |= h->type == PT_GNU_STACK;
		before |= text && start + h->memsz <= outcome;
		behind |= text && start > outcome;
		with_headers |= text && start > outcome && headers - start < h->memsz;
	}
	return invar_at(&own->code) != own->address || (before && behind && (with_headers || !stack));
}

static struct invar_verdict *state_of(const struct invar_key_record *k) { return (struct invar_verdict *)invar_at(&k->state); }
static const char *names_of(const struct invar_key_record *k) { return (const char *)invar_at(&k->names); }
static int status_of(const struct invar_key_record *k) { return __atomic_load_n(&state_of(k)->status, __ATOMIC_ACQUIRE); }

/* Whether all that a key's record names is there, and where it has to be. */
static int is_key(const struct invar_module *m, const struct invar_key_record *k)
{
	const char *names = names_of(k);
	unsigned at, ends = 0;
	if (k->flags & ~(PROVES | SLICE | SYMBOL | TIMESLICE | OWN | SWITCH) || (k->flags & SWITCH && k->flags != SWITCH) || k->values < 2 || k->values > 64 || !k->names_length || !holds(m, (uintptr_t)names, k->names_length, PF_R) ||
	    !holds(m, invar_at(&k->probe), 1, PF_X) || invar_at(&k->state) % 8 || !holds(m, invar_at(&k->state), 256, PF_R | PF_W))
		return 0;
	for (at = 0; at < k->names_length; ends += names[at++] == 0)
		if (names[at] && (names[at] < '!' || names[at] > '~')) return 0;
	return ends == k->values + 1u && names[at - 1] == 0;
}

/* Whether a name is this one; or how it goes on, if it begins with this. */
static const char *behind(const char *name, const char *with)
{
	for (; *with && *name == *with; name++) with++;
	return *with ? 0 : name;
}
static int is_name(const char *name, const char *other) { return (name = behind(name, other)) && !*name; }
static int is_reserved(const char *name) { return is_name(name, "slice") || behind(name, "slice.") || behind(name, "cpu."); }

/* The key of this name that somebody has sealed with a value up to this: in this module, else in the first of the others. Only keys of
 * the runtime's own can have the name of one, and no key that of a symbol. A time slice key of ours that failed may have lacked a probe. */
static const struct invar_key_record *others(const struct invar_module *m, const struct invar_key_record *k, uint8_t limit, int *ours)
{
	struct tables t;
	*ours = 1;
	for (const struct invar_module *o = m; o; o = *ours ? m->modules : o->next, *ours = 0)
		if (find_tables(o, &t) && (*ours || t.outcome != m->outcome))
			for (const struct invar_key_record *of = t.keys; of < t.keys + t.keys_count; of++)
				if (is_key(o, of) && status_of(of) == SEALED && state_of(of)->value <= limit && is_name(names_of(of), names_of(k)) &&
				    !(*ours && k->flags & TIMESLICE && state_of(of)->origin == INVAR_ORIGIN_FAILED) &&
				    (!((k->flags | of->flags) & (OWN | SYMBOL)) || !((k->flags ^ of->flags) & ~PROVES)))
					return of;
	return 0;
}

/* From this word on; data and evidence begin with the second. */
static void copy(struct invar_verdict *to, const struct invar_verdict *from, unsigned word_number)
{
	for (; word_number < sizeof *to / sizeof(word); word_number++) ((word *)to)[word_number] = ((const word *)from)[word_number];
}

/* What a key of ours has from a sealed one of its name, as it is if that is ours too; or why it cannot have it. */
static const char *adopt(struct invar_verdict *to, const struct invar_key_record *k, const struct invar_key_record *from, int ours)
{
	const struct invar_verdict *theirs = state_of(from);
	if ((k->flags ^ from->flags) & ~PROVES) return "a key of this name and another sort has been decided";
	if (k->names_length != from->names_length || !same(names_of(k), names_of(from), k->names_length) || theirs->value >= k->values)
		return "a key of this name with other values has been decided";
	if (theirs->origin > INVAR_ORIGIN_SET || (theirs->origin == INVAR_ORIGIN_FAILED && theirs->value) || (theirs->origin == INVAR_ORIGIN_FORCED && !(k->flags & TIMESLICE)))
		return "another module's verdict is none";
	copy(to, theirs, 0);
	if (!ours && theirs->origin != INVAR_ORIGIN_FORCED) to->origin = INVAR_ORIGIN_ADOPTED;
	return 0;
}

/* Decides a key and seals it, unless somebody has begun to, or its state is memory that is in use. */
static void decide(const struct invar_module *m, const struct own *own, const struct invar_key_record *k, uint32_t request)
{
	int ours;
	const struct invar_key_record *from = k->flags & (PROVES | SYMBOL) ? 0 : others(m, k, 255, &ours);
	struct invar_verdict *state = state_of(k), verdict;
	const char *why = 0;
	if (!same(state, &blank, 256) || !__atomic_compare_exchange_n((half *)state, &(uint32_t){ 0 }, BEGUN, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	copy(&verdict, &blank, 0);
	if (!(k->flags & OWN) && is_reserved(names_of(k)))
		why = "only a key of invar's own can have this name";
	else if (!from && is_rewritten(m, own))
		why = "a tool has moved the module's code after it was linked, and with it the probe";
	else if (!from) {
		(m->decide ? m->decide : (invar_decider)invar_at(&k->probe))(&verdict, k);
		why = verdict.value < k->values ? 0 : "the probe's value is none that the key has";
		verdict.origin = verdict.origin && !m->decide ? INVAR_ORIGIN_FAILED : verdict.origin;	/* a probe has no other to give */
		if (verdict.origin == INVAR_ORIGIN_FAILED) verdict.value = 0;
		if (!(k->flags & (PROVES | SYMBOL)))	/* whoever sealed it meanwhile, as a library that the probe loaded, came first */
			from = others(m, k, 255, &ours);
	}
	if (!why && from) why = adopt(&verdict, k, from, ours);
	else if (k->flags & PROVES)	/* of a fact the lowest verdict counts */
		for (unsigned below = verdict.value + 1u; !why && below && (from = others(m, k, (uint8_t)(below - 1), &ours)); below = verdict.value)
			why = adopt(&verdict, k, from, ours);
	if (!why && verdict.value && k->flags & SLICE && !is_request(k->flags & TIMESLICE ? place((uint32_t)verdict.data + 28) : request))
		why = "there is no memory for slice requests that is safe to write";
	if (why) {
		copy(&verdict, &blank, 0);
		verdict.origin = INVAR_ORIGIN_FAILED;
		invar_evidence(&verdict, why);
	}
	copy(state, &verdict, 1);	/* before the value can be seen */
	state->origin = verdict.origin;
	__atomic_store_n(&state->value, verdict.value, __ATOMIC_RELEASE);
	__atomic_store_n(&state->status, SEALED, __ATOMIC_RELEASE);
}

static uintptr_t page_of(const struct invar_module *m) { return m->page ? m->page : 4096; }

struct run { const struct header *segment; uintptr_t first, last; long size, offset; };	/* text from the first to the last page with sites */
enum { FIND, TOUCH, STORE, COUNT };

/* Goes through a segment's sites: finds their pages; or, so far behind the text, writes to these, binds what is in checked form, or counts. */
static void each_site(const struct invar_module *m, const struct tables *t, struct run *run, int what, uintptr_t delta)
{
	const struct invar_key_record *end = t->keys + t->keys_count, *k = end;
	uintptr_t readable = 0;
	for (const struct site_record *r = t->sites; r < t->sites + t->sites_count; r++) {
		uintptr_t at = invar_at(&r->site), state = invar_at(&r->state), from = at - (m->base + run->segment->vaddr);
		volatile uint8_t *bytes = (volatile uint8_t *)(at + delta);
		code checked, bound;
		if (r->length < SHORTEST || r->length > LONGEST || from > run->segment->filesz || r->length > run->segment->filesz - from) continue;
		run->first = at < run->first ? at & -page_of(m) : run->first;
		run->last = at + r->length > run->last ? (at + r->length + page_of(m) - 1) & -page_of(m) : run->last;
		if (what == TOUCH) for (unsigned byte = 0; byte < r->length; byte += r->length - 1u) bytes[byte] = bytes[byte];	/* the copy is nobody else's */
		if (k == end || invar_at(&k->state) != state)	/* most sites have the key of the one before */
			for (k = t->keys; k < end && (invar_at(&k->state) != state || !is_key(m, k));) k++;
		if (what < STORE || !holds(m, invar_at(&r->target), TARGET, PF_X) || k == end || status_of(k) != SEALED ||
		    r->flags || r->kind < BRANCH || r->kind > SLICE_LEAVE || (r->kind != BRANCH && (!(k->flags & SLICE) || r->value)) ||
		    !forms(r, state_of(k)->value, t->outcome->request, &checked, &bound) || !has_check(r, &readable)) continue;
		if (what == COUNT) *(same(bytes, &bound, r->length) ? &t->outcome->bound : &t->outcome->left) += 1;
		for (unsigned byte = what == STORE && same(bytes, &checked, r->length) ? 0 : r->length; byte < r->length; byte++) bytes[byte] = ((const uint8_t *)&bound)[byte];
	}
}

/* Whether the file has the module's program headers, and the whole segment: pages that a file lacks kill who touches them. */
static int is_from(const struct invar_module *m, const struct header *segment, long file)
{
	struct header there[32]; uint64_t elf[8];	/* e_phoff is the fifth, and the last begins with e_phnum */
	long size = m->count > 32 ? 0 : (long)(m->count * sizeof *there);
	return call(SYS_pread64, file, (long)elf, 64, 0, 0, 0) == 64 && (uint16_t)elf[7] == m->count &&
	       call(SYS_pread64, file, (long)there, size, (long)elf[4], 0, 0) == size && size && same(m->headers, there, (size_t)size) &&
	       call(SYS_lseek, file, 0, 2 /* SEEK_END */, 0, 0, 0) >= (long)(segment->offset + segment->filesz);
}

/* Executable pages with these bytes, of a file in memory that nobody can change any more. */
static long memfd(long bytes, long size)
{
	uint64_t limit[2] = { ~0ULL };	/* what goes beyond the limit of files brings a signal */
	if (!call(SYS_prlimit64, 0, 1 /* RLIMIT_FSIZE */, 0, (long)limit, 0, 0) && limit[0] < (uint64_t)size) return -EFBIG;
	long file = call(SYS_memfd_create, (long)"invar", 0x13 /* CLOEXEC | ALLOW_SEALING | EXEC */, 0, 0, 0, 0);
	file = file == -EINVAL ? call(SYS_memfd_create, (long)"invar", 3 /* before Linux 6.3 */, 0, 0, 0, 0) : file;
	long pages = file < 0 ? file : call(SYS_write, file, bytes, size, 0, 0, 0);
	pages = pages < 0 ? pages : pages != size ? -EIO : call(SYS_fcntl, file, 1033 /* F_ADD_SEALS */, 15 /* all four */, 0, 0, 0);
	pages = pages ? pages : call(SYS_mmap, 0, size, 5 /* READ | EXEC */, 2 /* PRIVATE */, file, 0);
	call(SYS_close, file, 0, 0, 0, 0, 0);
	return pages;
}

/* Has executable pages take the place of a run, or unmaps them. mremap unmaps the text before its last step that can fail; then the file is
 * mapped there again, unless text is there (before Linux 4.17: and unmapped from elsewhere); if it cannot be, both are tried again, as nobody can go on without the text. So that code in the
 * run can do all this, it is 256 bytes for any address, executed elsewhere. */
static long take_place(const struct invar_module *m, const struct run *run, long from, long file)
{
	long at, first = (long)run->first;
	EXCHANGE_CODE(at);
	long size = (long)page_of(m), page = at & -size, is_inside = page >= first && page < (long)run->last;
	long there = is_inside ? call(SYS_mmap, 0, size, 5, 2, file, run->offset + page - first) : page, here = there + at - page, result = there;
	long locked = call(SYS_msync, first, run->size, 2 /* INVALIDATE */, 0, 0, 0) == -EBUSY ? call(SYS_mlock, from, run->size, 0, 0, 0, 0) : 0;	/* what was locked in memory stays so */
	if (there > 0 && (locked || !same((void *)here, (void *)at, 256))) result = locked ? locked : WHY(CHANGED, 0);
	else if (there > 0) result = by_code(here, from, run->size, first, file, run->offset);
	if (there > 0 && is_inside) call(SYS_munmap, there, size, 0, 0, 0, 0);
	if (result == first) synchronise(first, run->size);
	return result == first ? 0 : (call(SYS_munmap, from, run->size, 0, 0, 0, 0), result);
}

/* The writers swap and memfd: the sites are bound in a private copy of the file's pages, which takes the text's place, or a memfd does. */
static long exchange(const struct invar_module *m, const struct tables *t, struct run *run, int is_swap)
{
	uint64_t now, print = 0;	/* 0 in the end if the text has stayed as it was */
	if (call(SYS_madvise, (long)run->first, run->size, 22 /* POPULATE_READ, Linux 5.14 */, 0, 0, 0) == -EFAULT) return WHY(UNREADABLE, 0);
	long file = call(SYS_openat, -100 /* AT_FDCWD */, (long)m->path, 02004000 /* CLOEXEC | NONBLOCK */, 0, 0, 0), is_changed = 0;
	long copy = file < 0 ? file : run->segment->flags & PF_W ? WHY(CHANGED, 0) : !is_from(m, run->segment, file) ? WHY(OTHER_FILE, 0) :
		    call(SYS_mmap, 0, run->size, 3 /* READ | WRITE */, 0x4002 /* PRIVATE | NORESERVE */, file, run->offset), pages = copy;
	if (copy > 0) {
		each_site(m, t, run, TOUCH, (uintptr_t)copy - run->first);	/* before they are read: the kernel would have to tell all CPUs */
		for (word *text = (word *)run->first, *ours = (word *)copy; text < (word *)run->last; print += now * ((uintptr_t)text | 1), text++, ours++)
			if (*ours != (now = *text)) *ours = now, is_changed = 1;	/* a uprobe or a debugger did; in a memfd, a uprobe would kill */
		each_site(m, t, run, STORE, (uintptr_t)copy - run->first);
		pages = !is_swap ? is_changed ? WHY(CHANGED, 0) : memfd(copy, run->size) : call(SYS_mprotect, copy, run->size, 5, 0, 0, 0);
		for (word *text = (word *)run->first; is_changed && text < (word *)run->last; text++) print -= *text * ((uintptr_t)text | 1);
		if (!is_swap || pages || (is_changed && print)) call(SYS_munmap, copy, run->size, 0, 0, 0, 0);
		pages = pages < 0 ? pages : is_changed && print ? WHY(CHANGED, 0) : take_place(m, run, is_swap ? copy : pages, file);	/* what is gone does not come back */
	}
	call(SYS_close, file, 0, 0, 0, 0, 0);
	return pages;
}

/* The writer mprotect: the text itself, which stays executable while it is writable, as this code may be in it. */
static long write_in_place(const struct invar_module *m, const struct tables *t, struct run *run)
{
	uint32_t status[64], flags = run->segment->flags;	/* struct statx: links at 16; Linux, fs/proc/base.c, proc_task_getattr: two and the threads */
	long error = m->one_thread ? 0 : call(SYS_statx, 0, (long)"/proc/self/task", 0, 4 /* STATX_NLINK */, (long)status, 0);
	long threads = m->one_thread ? 1 : error ? 0 : status[4] - 2L, first = (long)run->first, right = flags >> 2 | (flags & PF_W) | (flags & PF_X) << 2;
	uint64_t all = ~0ULL, mask = 0;
	if (threads != 1) return threads ? WHY(THREADS, threads) : WHY(THREADS_UNKNOWN, -error);
	if ((error = call(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, (long)&all, (long)&mask, 8, 0, 0))) return error;	/* a handler could meet half a site */
	if (!(error = call(SYS_mprotect, first, run->size, 7, 0, 0, 0))) {
		each_site(m, t, run, STORE, 0);
		synchronise(first, run->size);
		if ((error = call(SYS_mprotect, first, run->size, right, 0, 0, 0)) && (error = call(SYS_mprotect, first, run->size, right, 0, 0, 0)))
			error = WHY(WRITABLE, -error);	/* twice: memory may have been short */
	}
	call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&mask, 0, 8, 0, 0);
	return error;
}

int invar_bind(struct invar_module *m)
{
	struct tables t;
	m->outcome = find_tables(m, &t) ? t.outcome : 0;
	if (!m->outcome || __atomic_load_n(&t.outcome->phase, __ATOMIC_ACQUIRE)) return m->outcome ? INVAR_BOUND_EARLIER : INVAR_NO_TABLES;
	t.outcome->request = m->spare_request ? place((uint32_t)m->spare_request) : 0;
	for (unsigned turn = 0; turn < 4; turn++)	/* first what says where requests go, last what is about others */
		for (const struct invar_key_record *k = t.keys; k < t.keys + t.keys_count; k++) {
			if (!is_key(m, k) || turn != (k->flags & SYMBOL ? 3u : k->flags & TIMESLICE ? 0u : k->flags & OWN ? 1u : 2u)) continue;
			decide(m, t.own, k, t.outcome->request);
			if (!turn && status_of(k) == SEALED && state_of(k)->value)
				t.outcome->request = place((uint32_t)state_of(k)->data + 28);
		}
	unsigned writers = m->path ? m->writers : m->writers & INVAR_WRITER_MPROTECT;
	long objection = !t.sites_count ? 0 : !writers ? WHY(SETTING, 0) : is_rewritten(m, t.own) ? WHY(REWRITTEN, 0) : 0, why = objection;
	EACH_HEADER(h, m) {	/* by the first writer that can; else the first one's refusal counts, since the others can do less */
		struct run run = { .segment = h, .first = ~0UL };
		long first = 0, now = 1;
		if (objection || h->type != PT_LOAD || (h->flags & (PF_R | PF_X)) != (PF_R | PF_X)) continue;
		each_site(m, &t, &run, FIND, 0);
		run.size = (long)(run.last - run.first), run.offset = (long)(h->offset + run.first - (m->base + h->vaddr));
		for (unsigned writer = run.last ? INVAR_WRITER_SWAP : 8; now && writer <= INVAR_WRITER_MPROTECT; writer *= 2) {
			if (!(writers & writer)) continue;
			now = writer == INVAR_WRITER_MPROTECT ? write_in_place(m, &t, &run) : exchange(m, &t, &run, writer == INVAR_WRITER_SWAP);
			if (!now || -now >> 32 == WRITABLE) t.outcome->writers |= (uint8_t)writer, first = now;
			else t.outcome->refusals[writer >> 1] = -now >> 32 ? (uint16_t)(4096 | -now >> 32) : (uint16_t)-now;
			first = first ? first : now;
		}
		each_site(m, &t, &run, COUNT, 0);
		why = why ? why : first;
	}
	t.outcome->reason = (uint8_t)(-why >> 32 ? -why >> 32 : why ? REFUSED : 0);
	t.outcome->detail = (uint32_t)-why;
	__atomic_store_n(&t.outcome->phase, 1, __ATOMIC_RELEASE);
	return t.outcome->reason;
}
