/** The hub's settings of this machine's user. */
import { homedir } from 'node:os';
import { type HubSettings, hubSettings } from '../../io/index.ts';

/** Cache, server, token and offline mode from the environment; see `hubSettings`. */
export const readHubSettings = (env: NodeJS.ProcessEnv = process.env): HubSettings => hubSettings(env, homedir());
