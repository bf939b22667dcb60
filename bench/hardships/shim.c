/* Between a process and the kernel: a disk that is full or slow, a clock that is wrong, a witness of every sync.
 *
 * HARDSHIP_ROOT is the folder that it is about; HARDSHIP_STATE a file of 32 bytes that is read at each call, so that
 * whoever writes it changes what happens from then on; HARDSHIP_NOTARY, if any, a socket that is told of each sync
 * before whoever synced goes on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct state {
    volatile int64_t clock_ns;    /* added to the time of day */
    volatile int64_t write_errno; /* what writes to files below the root fail with; 0: they do not */
    volatile int64_t sync_ms;     /* how much longer a sync takes */
    volatile int64_t syncs;       /* how many were held up so */
};

static struct state none;
static struct state *state = &none;
static const char *root = "";
static const char *notary;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("HARDSHIP_STATE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED) return;
    state = page;
    root = strdup(getenv("HARDSHIP_ROOT")); /* a process that changes its title writes over its environment */
    notary = getenv("HARDSHIP_NOTARY");
    if (notary) notary = strdup(notary);
}

/* Writes the path of a file below the root; 0 where it is none. */
static int ours(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    size_t depth = strlen(root);
    return depth && strncmp(path, root, depth) == 0 && (path[depth] == '/' || path[depth] == 0);
}

static int refused(int fd) {
    char path[PATH_MAX];
    if (!state->write_errno || !ours(fd, path)) return 0;
    errno = (int)state->write_errno;
    return 1;
}

static void witness(int fd) {
    char path[PATH_MAX], line[PATH_MAX + 16];
    struct stat about;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!notary || !ours(fd, path) || fstat(fd, &about)) return;
    int length = snprintf(line, sizeof line, "%s %s\n", S_ISDIR(about.st_mode) ? "names" : "content", path);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", notary);
    int talk = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (talk < 0) return;
    if (connect(talk, (struct sockaddr *)&address, sizeof address) == 0 && REAL(write)(talk, line, length) == length)
        while (read(talk, line, 1) < 0 && errno == EINTR) {}
    close(talk);
}

static int synced(int fd, int (*sync)(int)) {
    char path[PATH_MAX];
    if (state->sync_ms && ours(fd, path)) {
        __atomic_fetch_add(&state->syncs, 1, __ATOMIC_RELAXED);
        usleep((useconds_t)(state->sync_ms * 1000));
    }
    int result = sync(fd);
    if (result == 0) witness(fd);
    return result;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

ssize_t write(int fd, const void *data, size_t size) {
    return refused(fd) ? -1 : REAL(write)(fd, data, size);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return refused(fd) ? -1 : REAL(writev)(fd, parts, count);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return refused(fd) ? -1 : REAL(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return refused(fd) ? -1 : REAL(pwrite64)(fd, data, size, at);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = REAL(clock_gettime)(clock, now);
    if (result == 0 && clock == CLOCK_REALTIME) {
        int64_t ns = now->tv_sec * 1000000000LL + now->tv_nsec + state->clock_ns;
        now->tv_sec = ns / 1000000000LL;
        now->tv_nsec = ns % 1000000000LL;
    }
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *where) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (where) *where = exact.tv_sec;
    return exact.tv_sec;
}
