/* A client of the decoder service in C11 and sockets alone, written from docs/protocol.md.
 *
 *     cc -std=c11 -O2 -o client client.c
 *     ./client qecpipe.sock circuit.stim $(sha256sum < circuit.stim | cut -c 1-64) 5 shots.b8 3
 *
 * opens the circuit with commit = buffer = 5, sends the measurements of shots.b8 (as `stim sample
 * --out_format b8` writes them) in blocks of at most 3 rounds, and prints every COMMIT and RESULT:
 *
 *     RESULT shot=0 upto=6 flips=00 observables=01
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HELLO = 1, OPEN, OPENED, ROUNDS, FINAL, COMMIT, RESULT, CREDIT, NACK };
enum { ERROR_ = 12, CLOSE = 15, UPLOAD };
enum { MOST_ROUNDS = 1 << 16, MOST_BYTES = 1 << 16, PART = 100000 };

static int sock;
static uint64_t rounds, window, starts[MOST_ROUNDS + 2]; /* of the rows of a shot: their first measurement */
static struct { int type, flags; uint64_t epoch, length, sequence; } head;
static uint8_t payload[1 << 18];

static void die(const char* what) { fprintf(stderr, "%s\n", what), exit(1); }

static uint32_t crc32(const uint8_t* data, size_t size) {
    uint32_t crc = ~0u;
    for (; size--; data++)
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ ((crc ^ *data >> bit) & 1 ? 0xEDB88320u : 0);
    return ~crc;
}

static void put(uint8_t* at, uint64_t value, int bytes) {
    for (; bytes--; value >>= 8) *at++ = (uint8_t)value;
}

static uint64_t get(const uint8_t* at, int bytes) { return bytes ? get(at + 1, bytes - 1) << 8 | *at : 0; }

/* "Frames" */

static void send_frame(int type, uint64_t epoch, uint64_t sequence, const uint8_t* data, size_t length) {
    static uint8_t frame[32 + 48 + PART] = "QD\2";
    put(frame + 3, type, 1), put(frame + 4, 0, 4), put(frame + 8, epoch, 4), put(frame + 12, length, 4);
    put(frame + 16, sequence, 8), put(frame + 24, crc32(data, length), 4), put(frame + 28, 0, 2);
    put(frame + 30, crc32(frame, 30), 2), memcpy(frame + 32, data, length);
    for (ssize_t size = 32 + (ssize_t)length, at = 0, sent; at < size; at += sent)
        if ((sent = write(sock, frame + at, (size_t)(size - at))) <= 0) die("the server is gone");
}

static void read_all(uint8_t* data, size_t size) {
    for (ssize_t got; size > 0; data += got, size -= (size_t)got)
        if ((got = read(sock, data, size)) <= 0) die("the server closed the connection");
}

static void read_frame(void) {
    uint8_t h[32];
    read_all(h, sizeof h);
    if (memcmp(h, "QD\2", 3) || get(h + 30, 2) != (crc32(h, 30) & 0xFFFF)) die("that is no frame");
    head.type = h[3], head.flags = (int)get(h + 28, 2);
    head.epoch = get(h + 8, 4), head.length = get(h + 12, 4), head.sequence = get(h + 16, 8);
    if (head.length >= sizeof payload) die("a frame is too long");
    read_all(payload, head.length), payload[head.length] = 0;
    if (crc32(payload, head.length) != get(h + 24, 4)) die("a payload is damaged");
    if (head.type == ERROR_) die((char*)payload);
}

static void await(int type) { do read_frame(); while (head.type != type); }

/* "Messages": maps of MessagePack, as far as they are needed. */

static uint8_t* text(uint8_t* at, const char* value) {
    size_t size = strlen(value);
    *at++ = 0xD9, *at++ = (uint8_t)size;
    return (uint8_t*)memcpy(at, value, size) + size;
}

/* Reads a number, or the size of a list or map, or skips a text, nil or boolean; the place after it. */
static const uint8_t* item(const uint8_t* at, uint64_t* value) {
    int kind = *at++, bytes = kind >= 0xCC && kind <= 0xCF ? 1 << (kind - 0xCC) : kind == 0xDC ? 2 : 0;
    *value = kind < 0x80 ? (uint64_t)kind : kind < 0xA0 ? kind & 15 : 0;
    while (bytes--) *value = *value << 8 | *at++;
    if (kind == 0xD9) at += *at + 1;
    else if (kind == 0xC1 || (kind > 0xC3 && kind < 0xCC) || (kind > 0xCF && kind != 0xDC)) die("unexpected");
    return kind >= 0xA0 && kind < 0xC0 ? at + (kind & 31) : at;
}

static int is(const uint8_t* key, const char* name) {
    return (*key & 31) == (int)strlen(name) && !memcmp(key + 1, name, strlen(name));
}

/* Opens the stream; OPENED says how many bits its rows have ("Shots"). */
static void open_stream(const char* digest, int commit) {
    uint8_t message[200] = {0x83}, *end = text(text(text(message + 1, "model"), digest), "commit");
    *end++ = (uint8_t)commit, end = text(end, "buffer"), *end++ = (uint8_t)commit;
    send_frame(OPEN, 0, 0, message, (size_t)(end - message)), await(OPENED);
    const uint8_t* at = payload + 1;
    uint64_t value, ignored, count, width, row = 0, final_bits = 0;
    for (int keys = payload[0] & 15; keys--;) {
        const uint8_t* key = at;
        at = item(item(at, &ignored), &value);
        if (is(key, "final_bits")) final_bits = value;
        if (is(key, "window")) window = value;
        if (!is(key, "layers")) continue;
        while (value--) /* runs of rounds of the same width */
            for (at = item(item(item(at, &ignored), &count), &width); count--; row++)
                if (row < MOST_ROUNDS) starts[row + 1] = starts[row] + width;
    }
    if ((rounds = row) > MOST_ROUNDS) die("too many rounds");
    starts[rounds + 1] = starts[rounds] + final_bits;
}

/* Sends `count` rows of a shot, whose measurements are packed without gaps, from `row` on. */
static void send_rows(const uint8_t* shot, uint64_t epoch, uint64_t row, uint64_t count) {
    uint8_t block[MOST_BYTES] = {(uint8_t)count, (uint8_t)(count >> 8)}, *at = block + 2;
    int type = row + count > rounds ? FINAL : ROUNDS;
    for (uint64_t r = row; r < row + count; at += (starts[r + 1] - starts[r] + 7) / 8, r++)
        for (uint64_t k = 0, bit = starts[r]; bit < starts[r + 1]; k++, bit++)
            at[k / 8] |= (uint8_t)((shot[bit / 8] >> bit % 8 & 1) << k % 8);
    send_frame(type, epoch, row, block, (size_t)(at - block));
}

static void print_output(void) {
    uint64_t size = (get(payload + 40, 4) + 7) / 8;
    printf("%s shot=%u", head.type == RESULT ? "RESULT" : "COMMIT", (unsigned)head.epoch);
    printf(" upto=%llu flips=", (unsigned long long)get(payload, 8));
    for (uint64_t k = 44; k < head.length; k++)
        printf("%s%02x", k == 44 + size ? " observables=" : "", payload[k]);
    if (head.flags) printf(" flags=%d", head.flags);
    printf("\n");
}

static uint8_t* read_file(const char* path, size_t* size) {
    FILE* file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) die(path);
    uint8_t* data = malloc((*size = (size_t)ftell(file)) + 1);
    rewind(file);
    if (!data || fread(data, 1, *size, file) != *size) die(path);
    fclose(file);
    return data;
}

static void upload(const char* path, const char* digest) {
    size_t size;
    uint8_t part[48 + PART], *model = read_file(path, &size);
    for (int k = 0; k < 32; k++) sscanf(digest + 2 * k, "%2hhx", &part[k]);
    put(part + 32, size, 8);
    for (size_t at = 0, bytes; at < size; at += bytes) {
        bytes = size - at < PART ? size - at : PART;
        put(part + 40, at, 8), memcpy(part + 48, model + at, bytes);
        send_frame(UPLOAD, 0, 0, part, 48 + bytes);
    }
    free(model), await(UPLOAD);
}

int main(int argc, char** argv) {
    if (argc != 7 || strlen(argv[3]) != 64) die("client SOCKET CIRCUIT SHA256 COMMIT SHOTS.b8 ROWS");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    sock = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(sock, (struct sockaddr*)&address, sizeof address)) die("no service listens there");
    uint8_t hello[80] = {0x81}, random[16];
    char session[33];
    FILE* source = fopen("/dev/urandom", "rb");
    if (!source || fread(random, 1, 16, source) != 16) die("/dev/urandom");
    for (int k = 0; k < 16; k++) sprintf(session + 2 * k, "%02x", random[k]);
    send_frame(HELLO, 0, 0, hello, (size_t)(text(text(hello + 1, "session"), session) - hello)), await(HELLO);
    upload(argv[2], argv[3]), open_stream(argv[3], atoi(argv[4]));

    size_t size;
    const uint8_t* shots = read_file(argv[5], &size);
    uint64_t rows = rounds + 1, shot_bytes = (starts[rows] + 7) / 8, most = strtoull(argv[6], NULL, 10);
    /* Places in the stream: row `sequence` of shot `epoch` is number epoch * rows + sequence. */
    for (uint64_t next = 0, known = 0, total = size / shot_bytes * rows; known < total;) {
        for (uint64_t count; next < total && next < known + window; next += count) {
            count = rows - next % rows;
            if (count > most) count = most;
            if (count > known + window - next) count = known + window - next;
            send_rows(shots + next / rows * shot_bytes, next / rows, next % rows, count);
        }
        read_frame();
        uint64_t place = head.epoch * rows + head.sequence;
        if (head.type == COMMIT || head.type == RESULT) print_output();
        if (head.type == RESULT) known = (head.epoch + 1) * rows;
        if (head.type == CREDIT && place > known) known = place;
        for (uint64_t left = head.type == NACK ? get(payload, 8) : 0; left--; place++)
            send_rows(shots + place / rows * shot_bytes, place / rows, place % rows, 1);
    }
    send_frame(CLOSE, 0, 0, (const uint8_t*)"\x80", 1), await(CLOSE);
    return 0;
}
