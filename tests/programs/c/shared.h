// Sites in functions that each of two files has: the linker keeps one of each.

#include <invar.h>

INVAR_EXTERN_KEY(c_wide);
INVAR_EXTERN_KEY(c_level);
INVAR_EXTERN_CONSTANT(c_half, uint32_t);
INVAR_EXTERN_CONSTANT(c_whole, uint64_t);
INVAR_EXTERN_POINTER(int, c_pointer, (int));

inline int in_line(int x) { return invar_branch(c_wide) ? x + 1 : x - 1; }

template <typename T> T in_template(T x) { return invar_branch(c_wide) ? x + 10 : x - 10; }

inline int in_numbers(int x) { return x + int(INVAR_VALUE(c_half)) + int(INVAR_VALUE(c_whole)); }

template <typename T> T in_select(T x)
{
	switch (invar_select(c_level, 3)) {
	case 2: return x + 4000000;
	case 1: return x + 2000000;
	default: return x;
	}
}

// A section that ends with its block; and a function that is not in line.
struct Section {
	Section() { invar_slice_enter(); }
	~Section() { invar_slice_leave(); }
	Section(const Section &) = delete;
	Section &operator=(const Section &) = delete;
	virtual int late(int x) { return invar_branch_is(c_wide, 1) ? x + 100 : x - 100; }
};

inline int in_lambda(int x)
{
	Section section;
	auto inner = [](int y) { return invar_branch(c_wide) ? y + 1000 : y - 1000; };
	return inner(section.late(x));
}

inline int plus(int x) { return x + 10000; }
inline int minus(int x) { return x - 10000; }
INVAR_DISPATCH(inline, int, by_dispatch, (int x), (x), c_wide, plus, minus);

#if __cplusplus >= 202002L
#include <coroutine>
#include <exception>
#include <type_traits>

struct Numbers {
	struct promise_type {
		int number = 0;
		Numbers get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
		std::suspend_always initial_suspend() noexcept { return {}; }
		std::suspend_always final_suspend() noexcept { return {}; }
		std::suspend_always yield_value(int next) { return number = next, std::suspend_always{}; }
		void return_void() {}
		void unhandled_exception() { std::terminate(); }
	};
	std::coroutine_handle<promise_type> handle;
	int next() { return handle.resume(), handle.promise().number; }
	~Numbers() { handle.destroy(); }
};

inline Numbers in_coroutine(int x)
{
	for (;;) {
		Section section;
		if (invar_branch(c_wide))
			co_yield x + 100000;
		else
			co_yield x - 100000;
		co_yield invar_branch(c_wide) ? x + 200000 : x - 200000;
		co_yield x + int(INVAR_VALUE(c_half)) + int(INVAR_VALUE(c_whole)) + invar_select(c_level, 3);
		co_yield invar_branch_at_least(c_level, 2) ? x : x - 1000000;
	}
}

constexpr int in_constexpr(int x)
{
	if (std::is_constant_evaluated())
		return x;
	else
		return (invar_branch(c_wide) ? x + 1 : x - 1) + int(INVAR_VALUE(c_half)) + invar_select(c_level, 3);
}
static_assert(in_constexpr(7) == 7);
#endif

inline long all(int x)
{
	long sum = in_line(x) + in_template(x) + in_template(2L * x) + in_lambda(x) + by_dispatch(x);
	sum += in_numbers(x) + in_select(x) + in_select(2L * x) + c_pointer(x);
#if __cplusplus >= 202002L
	Numbers numbers = in_coroutine(x);
	sum += numbers.next() + numbers.next() + numbers.next() + numbers.next() + in_constexpr(x);
#endif
	return sum;
}

long elsewhere(int x);
