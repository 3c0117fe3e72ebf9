/* A stand-in for NVML: one RTX 4090 with 23 of 24 GiB free. */
#include "say.h"
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } memory_v2;
#define TOTAL (24ull << 30)
#define FREE (23ull << 30)
int nvmlInit_v2(void) {
    say("nvml nvmlInit_v2"); return 0;
}
int nvmlInit(void) {
    return 0;
}
int nvmlInitWithFlags(unsigned flags) {
    say("nvml nvmlInitWithFlags"); return 0;
}
int nvmlShutdown(void) {
    return 0;
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 1; return 0;
}
int nvmlDeviceGetCount(unsigned *count) {
    *count = 1; return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = (void *)16; return index ? 6 : 0;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    *major = 8; *minor = 9; return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, memory *m) {
    m->total = TOTAL; m->free = FREE; m->used = TOTAL - FREE; return 0;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, memory_v2 *m) {
    m->total = TOTAL; m->free = FREE; m->used = TOTAL - FREE; m->reserved = 0; return 0;
}
int nvmlDeviceGetName(void *device, char *name, unsigned size) {
    snprintf(name, size, "NVIDIA GeForce RTX 4090"); return 0;
}
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned size) {
    snprintf(uuid, size, "GPU-00000000-0000-0000-0000-000000000000"); return 0;
}
int nvmlDeviceGetIndex(void *device, unsigned *index) {
    *index = 0; return 0;
}
int nvmlDeviceGetNumaNodeId(void *device, unsigned *node) {
    return 3;
}
int nvmlDeviceGetP2PStatus(void *one, void *other, int kind, int *status) {
    return 3;
}
int nvmlSystemGetDriverVersion(char *version, unsigned size) {
    snprintf(version, size, "580.65.06"); return 0;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = 13000; return 0;
}
int nvmlSystemGetCudaDriverVersion(int *version) {
    *version = 13000; return 0;
}
const char *nvmlErrorString(int error) {
    return "stand-in";
}
