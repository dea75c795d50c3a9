/* SPDX-License-Identifier: MIT OR Apache-2.0
 * In the order of docs/site-abi.md: note, header, keys, forms, binding. System calls: Linux, arch/x86/entry/syscalls/syscall_64.tbl. */
#define INVAR_PORTABLE /* no sites in here */
#include "binder.h"

struct header { uint32_t type, flags; uint64_t offset, vaddr, paddr, filesz, memsz, align; };
/* A module's own: distances to the tables, the outcome, the ELF header and a piece of code, and where that is. */
struct own { uint64_t magic; uint32_t version; uint16_t length, machine; uint32_t flags; int32_t tables[4], outcome, elf_header, code; uint64_t address; };
struct site_record { int32_t site, target, state; uint8_t length, kind, value, flags; };
struct tables { const struct own *own; const struct site_record *sites; const struct invar_key_record *keys; size_t sites_count, keys_count; struct invar_outcome *outcome; };
typedef volatile uint64_t __attribute__((may_alias)) word;
__extension__ typedef unsigned __int128 code;	/* the first byte of a site is the lowest */
static const struct invar_verdict blank;
enum { PT_LOAD = 1, PT_NOTE = 4, PT_GNU_STACK = 0x6474e551, PT_GNU_RELRO = 0x6474e552, PF_X = 1, PF_W = 2, PF_R = 4, SEALED = 2, PROVES = 1, SLICE = 2, SYMBOL = 4, TIMESLICE = 8, OWN = 16 };
enum { BRANCH = 1, SLICE_ENTER = 2, SLICE_LEAVE = 3, SETTING = 1, THREADS = 3, THREADS_UNKNOWN = 4, REFUSED = 5, WRITABLE = 6, REWRITTEN = 7, EIO = 5, EINTR = 4 };
#define MAGIC 0x0a0d7261766e6989	/* 89, invar, CR, LF */
#define EACH_HEADER(h, m) for (const struct header *h = (m)->headers, *h##_end = h + (m)->count; h < h##_end; h++)

static long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e;
	long result = -EINTR;
	while (result == -EINTR)
		__asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return result;
}

/* Volatile, here and below, so that no compiler makes a call of a loop. */
static int same(const volatile void *memory, const void *bytes, size_t length)
{
	while (length && ((const volatile uint8_t *)memory)[length - 1] == ((const uint8_t *)bytes)[length - 1])
		length--;
	return length == 0;
}

/* The flags of the segment that holds this range whole and has these; 0 if none does, or the range is not writable for long (RELRO). */
static uint32_t holds(const struct invar_module *m, uintptr_t at, uint64_t length, uint32_t flags)
{
	uint32_t found = 0;
	EACH_HEADER(h, m) {
		uint64_t from = at - (m->base + h->vaddr);
		if (h->type == PT_LOAD && (h->flags & flags) == flags && from <= h->memsz && length <= h->memsz - from)
			found = h->flags;
		if (h->type == PT_GNU_RELRO && flags & PF_W && (from < h->memsz || -from < length))
			return 0;
	}
	return found;
}

/* The records of 16 bytes between two distances; null if they are not the module's. */
static const void *table(const struct invar_module *m, const int32_t *field, size_t *count)
{
	uintptr_t start = invar_at(field), stop = invar_at(field + 1);
	*count = (stop - start) / 16;
	int wrong = stop < start || (*count && (start % 4 || !holds(m, start, *count * 16, PF_R)));
	return wrong ? 0 : *count ? (const void *)start : m;
}

/* Whether a header that can be used is here; then also what it leads to. */
static int is_own(const struct invar_module *m, uintptr_t at, struct tables *t)
{
	const struct own *own = t->own = (const struct own *)at;
	if (at % 8 || !holds(m, at, sizeof *own, PF_R) || own->magic != MAGIC || own->version != 2 || own->length != sizeof *own || own->machine != 62 || own->flags)
		return 0;
	t->sites = table(m, own->tables, &t->sites_count);
	t->keys = table(m, own->tables + 2, &t->keys_count);
	t->outcome = (struct invar_outcome *)invar_at(&own->outcome);
	return t->sites && t->keys && (uintptr_t)t->outcome % 8 == 0 && holds(m, (uintptr_t)t->outcome, 32, PF_R | PF_W);
}

/* A note leads to the header. Where none begins there, a tool has moved the note, and the header is somewhere in the data. */
static int find_own(const struct invar_module *m, uintptr_t at, struct tables *t)
{
	if (at % 8 == 0 && holds(m, at, 8, PF_R) && *(const word *)at == MAGIC)
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
	if (k->flags & ~(PROVES | SLICE | SYMBOL | TIMESLICE | OWN) || k->values < 2 || k->values > 64 || !k->names_length || !holds(m, (uintptr_t)names, k->names_length, PF_R) ||
	    !holds(m, invar_at(&k->probe), 1, PF_X) || invar_at(&k->state) % 8 || !holds(m, invar_at(&k->state), 256, PF_R | PF_W))
		return 0;
	for (at = 0; at < k->names_length; ends += names[at++] == 0)
		if (names[at] && (names[at] < '!' || names[at] > '~'))
			return 0;
	return ends == k->values + 1u && names[at - 1] == 0;
}

static int has_name(const struct invar_key_record *k, const char *name)
{
	const char *own = names_of(k);
	for (; *own && *own == *name; name++)
		own++;
	return *own == *name;
}

/* The key of this name that somebody has sealed with a value up to this: in this module, else in the first of the others. Only keys of
 * the runtime's own can have the name of one, and no key that of a symbol. A time slice key of ours that failed may have lacked a probe. */
static const struct invar_key_record *others(const struct invar_module *m, const struct invar_key_record *k, uint8_t limit, int *ours)
{
	struct tables t;
	*ours = 1;
	for (const struct invar_module *o = m; o; o = *ours ? m->modules : o->next, *ours = 0)
		if (find_tables(o, &t) && (*ours || t.outcome != m->outcome))
			for (const struct invar_key_record *of = t.keys; of < t.keys + t.keys_count; of++)
				if (is_key(o, of) && status_of(of) == SEALED && state_of(of)->value <= limit && has_name(of, names_of(k)) &&
				    !(*ours && k->flags & TIMESLICE && state_of(of)->origin == INVAR_ORIGIN_FAILED) &&
				    (!((k->flags | of->flags) & (OWN | SYMBOL)) || !((k->flags ^ of->flags) & ~PROVES)))
					return of;
	return 0;
}

static int begins(const char *name, const char *with)
{
	while (*with && *name == *with)
		name++, with++;
	return !*with;
}

static int is_reserved(const char *name)
{
	return (begins(name, "slice") && (!name[5] || name[5] == '.')) || begins(name, "cpu.");
}

/* The outcome's number for a distance, and the distance for a number: 0, as which memory begins, is no place. */
static uint32_t place(uint32_t request) { return request ^ 1U << 31; }

/* Whether slice requests can go there: two bytes of an area, or of its place (x86-64 TLS ABI; glibc, sysdeps/x86_64/nptl/tls.h). */
static int is_request(uint32_t request)
{
	int32_t offset = (int32_t)place(request);
	return request && (offset < -4 || offset >= 704 + 28) && (offset - 28) % 32 == 0;
}

/* From this word on; data and evidence begin with the second. */
static void copy(struct invar_verdict *to, const struct invar_verdict *from, unsigned word_number)
{
	for (; word_number < sizeof *to / sizeof(word); word_number++)
		((word *)to)[word_number] = ((const word *)from)[word_number];
}

/* What a key of ours has from a sealed one of its name, as it is if that is ours too; or why it cannot have it. */
static const char *adopt(struct invar_verdict *to, const struct invar_key_record *k, const struct invar_key_record *from, int ours)
{
	const struct invar_verdict *theirs = state_of(from);
	if ((k->flags ^ from->flags) & ~PROVES)
		return "a key of this name and another sort has been decided";
	if (k->names_length != from->names_length || !same(names_of(k), names_of(from), k->names_length) || theirs->value >= k->values)
		return "a key of this name with other values has been decided";
	if (theirs->origin > INVAR_ORIGIN_FORCED || (theirs->origin == INVAR_ORIGIN_FAILED && theirs->value) ||
	    (theirs->origin == INVAR_ORIGIN_FORCED && !(k->flags & TIMESLICE)))
		return "another module's verdict is none";
	copy(to, theirs, 0);
	if (!ours && theirs->origin != INVAR_ORIGIN_FORCED)
		to->origin = INVAR_ORIGIN_ADOPTED;
	return 0;
}

/* Decides a key and seals it, unless somebody has begun to, or its state is memory that is in use. */
static void decide(const struct invar_module *m, const struct own *own, const struct invar_key_record *k, uint32_t request)
{
	int ours;
	const struct invar_key_record *from = k->flags & (PROVES | SYMBOL) ? 0 : others(m, k, 255, &ours);
	struct invar_verdict *state = state_of(k), verdict;
	const char *why = 0;
	if (!same(state, &blank, 256) || !__atomic_compare_exchange_n(&state->status, &(uint8_t){ 0 }, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
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
		if (verdict.origin == INVAR_ORIGIN_FAILED)
			verdict.value = 0;
		if (!(k->flags & (PROVES | SYMBOL)))	/* whoever sealed it meanwhile, as a library that the probe loaded, came first */
			from = others(m, k, 255, &ours);
	}
	if (!why && from)
		why = adopt(&verdict, k, from, ours);
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

/* By a displacement of this many bits. */
static int reaches(uintptr_t from, uintptr_t to, unsigned bits) { return (to - from + (1ULL << (bits - 1))) >> bits == 0; }

/* Both forms of a record's site, for a key that has this value; 0 if there are none. */
static int forms(const struct site_record *r, uint8_t value, uint32_t request, code *checked, code *bound)
{
	uintptr_t at = invar_at(&r->site), target = invar_at(&r->target), state = invar_at(&r->state);
	/* The first instruction has prefixes, and as many bytes as the compare; the second jumps, or is a nop as long. */
	unsigned prefixes = r->kind == BRANCH ? 1 : r->kind == SLICE_ENTER ? 3 : 2, first = prefixes + 7, far = r->length == first + 6u;
	code to = (uint32_t)(target - at - r->length), nop = far ? 0x441f0f66 : 0x9066, where = (code)place(request) << 40;
	if ((r->length != first + 2 && !far) || !reaches(at + first, state, 32) || !reaches(at + r->length, target, far ? 32 : 8) ||
	    (r->kind == BRANCH && value != r->value && !reaches(at + 6, target, 32)))
		return 0;
#define JUMP(near, long) ((far ? (long) | to << 16 : (near) | (to & 0xff) << 8) << 8 * first)
	*checked = (0x406666 >> 8 * (3 - prefixes)) | (0x3d80 | (code)(uint32_t)(state - at - first) << 16 | (code)r->value << 48) << 8 * prefixes | JUMP(0x75, 0x850f);
	if (value == r->value)
		*bound = (r->kind == BRANCH ? 0x801f0f40 : (0x6666 >> 8 * (3 - prefixes)) | 0x841f0fULL << 8 * (prefixes - 1)) | nop << 8 * first;
	else if (r->kind == BRANCH)
		*bound = 0xe940 | (code)(uint32_t)(target - at - 6) << 16 | (code)0x9066 << 48 | JUMP(0xeb, 0xe940);
	else if (r->kind == SLICE_ENTER)
		*bound = 0x2504c66466 | where | (code)1 << 72 | nop << 8 * first;
	else
		*bound = 0x252cd06466 | where | JUMP(0x73, 0x830f);
	return r->kind == BRANCH || value == r->value || request;
}

/* Writes a site's code; 0, or a negative error number; in *left one with which the page stays writable. It stays executable
 * meanwhile: it may be the one that runs. */
static long write_code(unsigned writer, long file, uintptr_t at, const code *bytes, unsigned length, uint32_t flags, long *left)
{
	long page = (long)(at & ~4095UL), size = (long)at + length - page, protection = flags >> 2 | (flags & PF_W) | (flags & PF_X) << 2;
	long error = writer == INVAR_WRITER_MEM ? call(18 /* pwrite64 */, file, (long)bytes, length, (long)at, 0)
						: call(10 /* mprotect */, page, size, 7, 0, 0);
	if (writer == INVAR_WRITER_MEM)
		return error == length ? 0 : error < 0 ? error : -EIO;
	for (unsigned byte = 0; !error && byte < length; byte++)
		((volatile uint8_t *)at)[byte] = ((const uint8_t *)bytes)[byte];
	long restored = error ? 0 : call(10, page, size, protection, 0, 0);
	if (restored && (restored = call(10, page, size, protection, 0, 0)))	/* memory may have been short */
		*left = restored;
	return error;
}

/* Binds what this writer can, and counts; 0, or a negative error number. */
static long pass(const struct invar_module *m, const struct tables *t, unsigned writer)
{
	long file = writer == INVAR_WRITER_MPROTECT ? -1 : call(257 /* openat */, 0, (long)"/proc/self/mem", 02000002 /* O_RDWR | O_CLOEXEC */, 0, 0);
	long error = file < 0 && writer == INVAR_WRITER_MEM ? file : 0, left = 0;
	uint64_t all = ~0ULL, mask = 0;
	const struct invar_key_record *end = t->keys + t->keys_count, *k = end;
	t->outcome->bound = t->outcome->left = 0;
	if (writer == INVAR_WRITER_MPROTECT)	/* a signal handler could meet half a site */
		call(14 /* rt_sigprocmask */, 0 /* SIG_BLOCK */, (long)&all, (long)&mask, 8, 0);
	for (const struct site_record *r = t->sites; !error && r < t->sites + t->sites_count; r++) {
		uintptr_t at = invar_at(&r->site), state = invar_at(&r->state);
		uint32_t flags = holds(m, at, r->length, PF_R | PF_X);
		code checked, bound;
		if (k == end || invar_at(&k->state) != state)	/* most sites have the key of the one before */
			for (k = t->keys; k < end && (invar_at(&k->state) != state || !is_key(m, k));)
				k++;
		if (!flags || !holds(m, invar_at(&r->target), 1, PF_X) || k == end || status_of(k) != SEALED ||
		    r->flags || r->kind < BRANCH || r->kind > SLICE_LEAVE || (r->kind != BRANCH && (!(k->flags & SLICE) || r->value)) ||
		    !forms(r, state_of(k)->value, t->outcome->request, &checked, &bound))
			continue;
		if (same((void *)at, &checked, r->length) && !(error = write_code(writer, file, at, &bound, r->length, flags, &left)))
			t->outcome->writers |= (uint8_t)writer;
		*(same((void *)at, &bound, r->length) ? &t->outcome->bound : &t->outcome->left) += 1;
	}
	if (writer == INVAR_WRITER_MPROTECT)
		call(14, 2 /* SIG_SETMASK */, (long)&mask, 0, 8, 0);
	else
		call(3 /* close */, file, 0, 0, 0, 0);
	if (left) {
		t->outcome->reason = WRITABLE;
		t->outcome->detail = (uint32_t)-left;
	}
	return error;
}

int invar_bind(struct invar_module *m)
{
	struct tables t;
	m->outcome = find_tables(m, &t) ? t.outcome : 0;
	if (!m->outcome || __atomic_load_n(&t.outcome->phase, __ATOMIC_ACQUIRE))
		return m->outcome ? INVAR_BOUND_EARLIER : INVAR_NO_TABLES;
	t.outcome->request = m->spare_request ? place((uint32_t)m->spare_request) : 0;
	for (unsigned turn = 0; turn < 4; turn++)	/* first what says where requests go, last what is about others */
		for (const struct invar_key_record *k = t.keys; k < t.keys + t.keys_count; k++) {
			if (!is_key(m, k) || turn != (k->flags & SYMBOL ? 3u : k->flags & TIMESLICE ? 0u : k->flags & OWN ? 1u : 2u))
				continue;
			decide(m, t.own, k, t.outcome->request);
			if (!turn && status_of(k) == SEALED && state_of(k)->value)
				t.outcome->request = place((uint32_t)state_of(k)->data + 28);
		}
	uint32_t status[64];	/* struct statx: number of links at 16; Linux, fs/proc/base.c, proc_task_getattr: two and the threads */
	long error = m->one_thread ? 0 : call(332 /* statx */, 0, (long)"/proc/self/task", 0, 4 /* STATX_NLINK */, (long)status);
	uint32_t threads = m->one_thread ? 1 : error ? 0 : status[4] - 2;
	uint8_t reason = !t.sites_count ? 0 : !m->writers ? SETTING : is_rewritten(m, t.own) ? REWRITTEN : !threads ? THREADS_UNKNOWN : threads > 1 ? THREADS : REFUSED;
	for (unsigned writer = INVAR_WRITER_MEM; reason == REFUSED && writer <= INVAR_WRITER_MPROTECT; writer++)
		if (m->writers & writer && !(error = pass(m, &t, writer)))
			reason = 0;
	__asm__ volatile("xorl %%eax, %%eax\n\tcpuid" : : : "rax", "rbx", "rcx", "rdx", "memory");	/* execute what was written */
	if (reason) {
		t.outcome->reason = reason;
		t.outcome->detail = reason == THREADS ? threads : reason == THREADS_UNKNOWN || reason == REFUSED ? (uint32_t)-error : 0;
	}
	__atomic_store_n(&t.outcome->phase, 1, __ATOMIC_RELEASE);
	return reason;
}
