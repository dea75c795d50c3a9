// Threads in C++ that end in every way, and what they are made with. Says the same whoever stands in front of the C library.

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#ifdef REPORT
#include <invar.h>
#endif

struct Left {
	const char *how;
	~Left() { printf("left\t%s\n", how); }
};

static void *by_exit(void *argument)
{
	Left left{"by pthread_exit"};
	pthread_exit(argument);
}

static void *by_cancellation(void *)
{
	Left left{"by cancellation"};
	for (;;)
		pause();
}

static void *at_any_time(void *ready)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
	*static_cast<volatile bool *>(ready) = true;
	for (volatile int turn = 0;; turn = turn + 1)
		;
}

static void *by_return(void *argument) { return argument; }

// The stack is the one that was asked for, aligned as the psABI has it; the name is the program's.
static void *about_itself(void *)
{
	alignas(16) volatile char aligned[16];
	pthread_attr_t attributes;
	void *bottom;
	size_t size;
	pthread_getattr_np(pthread_self(), &attributes);
	pthread_attr_getstack(&attributes, &bottom, &size);
	pthread_attr_destroy(&attributes);
	printf("stack\t%zu %d\n", size, int(reinterpret_cast<uintptr_t>(aligned) % 16));
	return nullptr;
}

static void *forks(void *)
{
	int status;
	if (fork() == 0) {
		int there = 0;
		std::thread([&] { there = 7; }).join();
		_exit(there);
	}
	wait(&status);
	printf("child's thread\t%d\n", WEXITSTATUS(status));
	return nullptr;
}

int main()
{
	static volatile bool ready;
	pthread_attr_t attributes, too_much;
	pthread_t thread;
	void *result;

	pthread_create(&thread, nullptr, by_exit, &attributes);
	pthread_join(thread, &result);
	printf("exited\t%d\n", result == &attributes);
	pthread_create(&thread, nullptr, by_cancellation, nullptr);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("cancelled\t%d\n", result == PTHREAD_CANCELED);
	pthread_create(&thread, nullptr, at_any_time, const_cast<bool *>(&ready));
	while (!ready)
		std::this_thread::yield();
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("cancelled\t%d\n", result == PTHREAD_CANCELED);
	std::thread([] {
		try {
			Left left{"by an exception"};
			throw 5;
		} catch (int number) {
			printf("caught\t%d\n", number);
		}
	}).join();

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 128 << 10);
	pthread_create(&thread, &attributes, about_itself, nullptr);
	pthread_join(thread, nullptr);
	pthread_attr_init(&too_much);
	pthread_attr_setstacksize(&too_much, size_t(1) << 50);
	// Who refuses keeps no memory.
	char *heap = static_cast<char *>(sbrk(0));
	int refused = 0;
	for (int turn = 0; turn < 20000; turn++)
		refused += pthread_create(&thread, &too_much, by_return, nullptr) == EAGAIN;
	printf("refused\t%d %d\n", refused, static_cast<char *>(sbrk(0)) - heap < 256 << 10);
	pthread_create(&thread, nullptr, forks, nullptr);
	pthread_join(thread, nullptr);

	// Nobody catches it: the process ends.
	fflush(stdout);
	if (fork() == 0) {
		rlimit none = {0, 0};
		setrlimit(RLIMIT_CORE, &none);
		fclose(stderr);
		std::thread([] { throw 1; }).join();
		_exit(0);
	}
	int status;
	wait(&status);
	printf("terminated\t%d\n", WTERMSIG(status));
	fflush(stdout);
#ifdef REPORT
	return invar_report(1);
#endif
}
