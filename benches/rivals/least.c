/* The least program that says one thing over STOMP: connect, log in, send with a receipt, disconnect.
 * The yardstick for one emission: what no hook can be faster than.
 *   least PORT LOGIN PASSCODE  (the message on stdin) */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char reply[65536];

static void answer(int fd, const char *want) {
  size_t have = 0;
  do {
    ssize_t n = read(fd, reply + have, sizeof reply - have - 1);
    if (n <= 0) exit(1);
    have += n;
  } while (!memchr(reply, 0, have));
  char *start = reply;
  while (*start == '\n') start++;
  if (strncmp(start, want, strlen(want))) exit(2);
}

int main(int argc, char **argv) {
  if (argc != 4) return 3;
  char body[8192], frame[16384];
  ssize_t length = read(0, body, sizeof body - 1);
  if (length < 0) return 4;
  body[length] = 0;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&to, sizeof to)) return 5;
  int n = snprintf(frame, sizeof frame, "CONNECT\naccept-version:1.2\nhost:/\nlogin:%s\npasscode:%s\n\n", argv[2], argv[3]);
  if (write(fd, frame, n + 1) != n + 1) return 6;
  answer(fd, "CONNECTED");
  n = snprintf(frame, sizeof frame, "SEND\ndestination:/topic/bench\npersistent:true\nreceipt:1\n\n%s", body);
  if (write(fd, frame, n + 1) != n + 1) return 7;
  answer(fd, "RECEIPT");
  if (write(fd, "DISCONNECT\n\n", 13) != 13) return 8;
  close(fd);
  return 0;
}
