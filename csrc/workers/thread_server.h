/* Threads of this process as workers. */
#ifndef AIONIF_THREAD_SERVER_H
#define AIONIF_THREAD_SERVER_H
#include "lanes/server.h"

extern const struct aionif__server aionif__thread_server;
#endif
