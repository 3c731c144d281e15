// SPDX-License-Identifier: Apache-2.0
/*
 * The work that tools/bench_linux.py counts, the same program on the same kernel bare and as a guest: it is the first
 * process (rdinit=/work) and takes what to do from the kernel's command line behind "--", or from a shell as
 * arguments. Marks stand around what is counted. It must not print while it is being counted.
 */

#define _GNU_SOURCE /* O_DIRECT */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "tests/linux/mark.h"

#define MIB         (1UL << 20)
#define PAGE        4096UL
#define HASHED      (32 * MIB)
#define TOUCHED     (256 * MIB)
#define FORKS       2000
#define SLEEPS      10000
#define SLEEP_NS    1000000
#define ROUND_TRIPS 100000
#define READS       2000
#define DISK_PAGES  256
#define PINGS       200
#define BUSYBOX     "/bin/busybox"
#define DATA        "/tmp/data"
#define WARM_UP     8 /* rounds before the first that counts */

static void must(bool right, const char *what)
{
	if (!right) {
		perror(what);
		fflush(stdout);
		tcdrain(STDERR_FILENO);
		reboot(RB_POWER_OFF);
		exit(1);
	}
}

static void run(const char *applet, const char *argument)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		execl(BUSYBOX, applet, argument, (char *)NULL);
		_exit(127);
	}
	must(child > 0 && waitpid(child, &status, 0) == child && status == 0, applet);
}

/* ---- the works ---- */

static void hash(void)
{
	static unsigned char chunk[MIB];
	int file = open(DATA, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	for (size_t i = 0; i < sizeof(chunk); i++)
		chunk[i] = (unsigned char)(i * 7 + i / PAGE);
	for (size_t done = 0; done < HASHED; done += sizeof(chunk))
		must(write(file, chunk, sizeof(chunk)) == (ssize_t)sizeof(chunk), "write");
	close(file);
	mark(MARK_SHA256);
	run("sha256sum", DATA);
	mark(MARK_SHA256 + 1);
	unlink(DATA);
}

static void forks(void)
{
	for (int i = 0; i < WARM_UP; i++)
		run("true", NULL);
	mark(MARK_FORK);
	for (int i = 0; i < FORKS; i++)
		run("true", NULL);
	mark(MARK_FORK + 1);
}

static char *fresh_memory(void)
{
	void *memory = mmap(NULL, TOUCHED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(memory != MAP_FAILED, "mmap");
	must(madvise(memory, TOUCHED, MADV_NOHUGEPAGE) == 0, "madvise"); /* page by page, as is said */
	return memory;
}

static void touch_pages(char *memory)
{
	for (size_t at = 0; at < TOUCHED; at += PAGE)
		*(volatile char *)(memory + at) = 1;
}

/* Twice: a guest's frames are filled in the first round. */
static void touch(void)
{
	char *memory = fresh_memory();

	mark(MARK_TOUCH_FIRST);
	touch_pages(memory);
	mark(MARK_TOUCH_FIRST + 1);
	munmap(memory, TOUCHED);
	memory = fresh_memory();
	mark(MARK_TOUCH);
	touch_pages(memory);
	mark(MARK_TOUCH + 1);
	munmap(memory, TOUCHED);
}

static void timer(void)
{
	const struct timespec millisecond = {.tv_nsec = SLEEP_NS};

	for (int i = 0; i < WARM_UP; i++)
		nanosleep(&millisecond, NULL);
	mark(MARK_TIMER);
	for (int i = 0; i < SLEEPS; i++)
		nanosleep(&millisecond, NULL);
	mark(MARK_TIMER + 1);
}

static void echo(int from, int to)
{
	char byte = 0;

	while (read(from, &byte, 1) == 1)
		must(write(to, &byte, 1) == 1, "write to a pipe");
	_exit(0);
}

static void round_trips(int to, int from, int rounds)
{
	char byte = 0;

	for (int i = 0; i < rounds; i++)
		must(write(to, &byte, 1) == 1 && read(from, &byte, 1) == 1, "round trip");
}

static void pipes(void)
{
	int there[2], back[2];
	pid_t child = 0;

	must(pipe(there) == 0 && pipe(back) == 0, "pipe");
	child = fork();
	if (child == 0) {
		close(there[1]);
		echo(there[0], back[1]);
	}
	round_trips(there[1], back[0], WARM_UP);
	mark(MARK_PIPE);
	round_trips(there[1], back[0], ROUND_TRIPS);
	mark(MARK_PIPE + 1);
	close(there[1]);
	waitpid(child, NULL, 0);
}

static void read_disk(void)
{
	void *buffer = aligned_alloc(PAGE, PAGE);
	int disk = open("/dev/vda", O_RDONLY | O_DIRECT);

	must(buffer && disk >= 0, "/dev/vda");
	for (int i = 0; i < WARM_UP; i++)
		must(pread(disk, buffer, PAGE, 0) == (ssize_t)PAGE, "read");
	mark(MARK_BLK_READ);
	for (int i = 0; i < READS; i++)
		must(pread(disk, buffer, PAGE, (i % DISK_PAGES) * (off_t)PAGE) == (ssize_t)PAGE, "read");
	mark(MARK_BLK_READ + 1);
	close(disk);
	free(buffer);
}

/* ICMP echo through a "ping socket", for which the kernel makes identifier and checksum. */
static void pings(int net, int rounds)
{
	char reply[128];
	struct icmphdr request = {.type = ICMP_ECHO};

	for (int i = 0; i < rounds; i++) {
		request.un.echo.sequence = htons((uint16_t)i);
		must(send(net, &request, sizeof(request), 0) == (ssize_t)sizeof(request), "send");
		must(recv(net, reply, sizeof(reply), 0) == (ssize_t)sizeof(request), "reply");
	}
}

static void ping(const char *address)
{
	struct sockaddr_in peer = {.sin_family = AF_INET};
	int net = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);

	must(net >= 0 && inet_aton(address, &peer.sin_addr), "ping socket");
	must(connect(net, (struct sockaddr *)&peer, sizeof(peer)) == 0, "connect");
	pings(net, WARM_UP);
	mark(MARK_PING);
	pings(net, PINGS);
	mark(MARK_PING + 1);
	close(net);
}

/* ---- which ---- */

static void all(void)
{
	mkdir("/tmp", 0777);
	touch();
	hash();
	forks();
	timer();
	pipes();
}

static void first_line(void)
{
	printf("init: here\n");
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	mark(MARK_INIT);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getpid() == 1)
		first_line();
	if (strcmp(what, "all") == 0)
		all();
	else if (strcmp(what, "disk") == 0)
		read_disk();
	else if (strcmp(what, "ping") == 0 && argc > 2)
		ping(argv[2]);
	if (getpid() == 1)
		reboot(RB_POWER_OFF);
	return 0;
}
