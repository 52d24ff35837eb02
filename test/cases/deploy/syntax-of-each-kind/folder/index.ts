#!/usr/bin/env node
import config from "./config.json" with { type: "json" };
export const handler = (event: unknown) => ({ config, event });
