/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * traffic.c - sends one kind of traffic for a while and prints how often.
 *
 *   traffic serve PORT                  answers TCP: accepts, echoes bytes; until killed
 *   traffic flood ADDRESS PORT MS       UDP datagrams, as fast as they go
 *   traffic rr ADDRESS PORT MS          one byte there and back on one connection
 *   traffic connect ADDRESS PORT MS     connect, one byte there and back, reset
 *
 * Prints operations, and the nanoseconds of CPU time that they took. A tool of the benchmarks, not of the product.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	BATCH = 64,
	PAYLOAD = 18,
	CHECK_EVERY = 8
};

static void must(int good, const char *what)
{
	if (!good) {
		perror(what);
		exit(1);
	}
}

static unsigned long long read_clock(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static int open_to(const struct sockaddr_in *to, int kind)
{
	int one = 1, fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);

	must(fd >= 0, "socket");
	if (kind == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	must(connect(fd, (const void *)to, sizeof(*to)) == 0, "connect");
	return fd;
}

static unsigned long long now(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

static unsigned long long flood(const struct sockaddr_in *to,
				unsigned long long end)
{
	static char payload[PAYLOAD];
	struct iovec part = { payload, sizeof(payload) };
	struct mmsghdr messages[BATCH] = { 0 };
	unsigned long long sent = 0;
	int fd = open_to(to, SOCK_DGRAM);

	for (int i = 0; i < BATCH; i++) {
		messages[i].msg_hdr.msg_iov = &part;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	do {
		for (int i = 0; i < CHECK_EVERY; i++) {
			int done = sendmmsg(fd, messages, BATCH, 0);

			must(done > 0 || errno == ECONNREFUSED, "sendmmsg");
			sent += done > 0 ? done : 0;
		}
	} while (now() < end);
	return sent;
}

static void there_and_back(int fd)
{
	char byte = 1;

	must(send(fd, &byte, 1, MSG_NOSIGNAL) == 1, "send");
	must(recv(fd, &byte, 1, 0) == 1, "recv");
}

static unsigned long long rr(const struct sockaddr_in *to,
			     unsigned long long end)
{
	unsigned long long done = 0;
	int fd = open_to(to, SOCK_STREAM);

	do {
		there_and_back(fd);
		done++;
	} while (now() < end);
	return done;
}

static unsigned long long connects(const struct sockaddr_in *to,
				   unsigned long long end)
{
	struct linger reset = { 1, 0 };
	unsigned long long done = 0;

	do {
		int fd = open_to(to, SOCK_STREAM);

		there_and_back(fd);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fd);
		done++;
	} while (now() < end);
	return done;
}

static void serve(int port)
{
	struct sockaddr_in here = { .sin_family = AF_INET,
				    .sin_port = htons(port) };
	struct epoll_event event = { .events = EPOLLIN };
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int poll = epoll_create1(EPOLL_CLOEXEC);

	must(listener >= 0 && poll >= 0, "socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	must(bind(listener, (void *)&here, sizeof(here)) == 0, "bind");
	must(listen(listener, 1024) == 0, "listen");
	event.data.fd = listener;
	epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
	puts("ready");
	fflush(stdout);
	for (;;) {
		char byte;
		int fd;

		if (epoll_wait(poll, &event, 1, -1) != 1)
			continue;
		fd = event.data.fd;
		if (fd == listener) {
			fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (fd < 0)
				continue;
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
				   sizeof(one));
			event.data.fd = fd;
			event.events = EPOLLIN;
			epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
		} else if (recv(fd, &byte, 1, 0) != 1 ||
			   send(fd, &byte, 1, MSG_NOSIGNAL) != 1) {
			close(fd);
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	unsigned long long begun, end, done;

	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(atoi(argv[2]));
	if (argc != 5 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) {
		fprintf(stderr, "usage: traffic serve PORT | flood|rr|connect "
				"ADDRESS PORT MS\n");
		return 2;
	}
	to.sin_port = htons(atoi(argv[3]));
	begun = read_clock(CLOCK_PROCESS_CPUTIME_ID);
	end = now() + atoi(argv[4]) * 1000000ULL;
	if (!strcmp(argv[1], "flood"))
		done = flood(&to, end);
	else if (!strcmp(argv[1], "rr"))
		done = rr(&to, end);
	else
		done = connects(&to, end);
	printf("%llu %llu\n", done,
	       read_clock(CLOCK_PROCESS_CPUTIME_ID) - begun);
	return 0;
}
