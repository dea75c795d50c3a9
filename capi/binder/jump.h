/* SPDX-License-Identifier: MIT OR Apache-2.0
 * What AArch64 and RISC-V share: docs/site-abi.md, "AArch64 and RISC-V". A site's check stands out of line. Whoever includes this has NOP,
 * jump, compare, words and requests; they give 0 where a distance does not fit. System calls: Linux, include/uapi/asm-generic/unistd.h. */
enum { SHORTEST = 4, LONGEST = 16, TARGET = 24 };	/* bytes of a site, and of what is at its target */
enum { SYS_fcntl = 25, SYS_openat = 56, SYS_close = 57, SYS_lseek = 62, SYS_write = 64, SYS_pread64 = 67, SYS_rt_sigprocmask = 135, SYS_munmap = 215, SYS_mmap = 222, SYS_mprotect = 226,
       SYS_msync = 227, SYS_mlock = 228, SYS_madvise = 233, SYS_prlimit64 = 261, SYS_memfd_create = 279, SYS_statx = 291 };

/* Both forms of a record's site, for a key that has this value; 0 if there are none. */
static int forms(const struct site_record *r, uint8_t value, uint32_t request, code *checked, code *bound)
{
	uintptr_t at = invar_at(&r->site), target = invar_at(&r->target);
	half *from = (half *)checked, *to = (half *)bound;
	if (r->length != 4 * words(r->kind) || at % 4 || target % 4) return 0;
	if (value != r->value && r->kind != BRANCH && !requests(r->kind, (int32_t)place(request), to)) return 0;
	for (unsigned number = 0; number < words(r->kind); number++, at += 4) {
		int is_last = r->kind != SLICE_ENTER && number == words(r->kind) - 1;	/* it leads to where the site goes */
		if (!(from[number] = jump(at, target))) return 0;
		if (value == r->value) to[number] = NOP;
		else if (is_last && !(to[number] = jump(at, target + 20))) return 0;
	}
	return 1;
}

/* Whether the check is as the record says, but for its last instruction, of which no record tells. It may stand where nobody can read: the
 * kernel is asked, which reads a set of signals there, then refuses its first argument. `readable` is the page of which it was asked last. */
static int has_check(const struct site_record *r, uintptr_t *readable)
{
	uintptr_t target = invar_at(&r->target);
	uint32_t check[5];
	for (uintptr_t at = target & -8UL; at < target + sizeof check; *readable = at >> 12, at += 8)
		if (at >> 12 != *readable && system_call(SYS_rt_sigprocmask, -1, (long)at, 0, 8, 0, 0) == -EFAULT) return 0;
	check[4] = jump(target + 16, invar_at(&r->site) + r->length);
	return check[4] && compare(target, invar_at(&r->state), r->value, check) && same((const void *)target, check, sizeof check);
}
