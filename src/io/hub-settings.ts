/** Server and cache of models: the variables of the Hugging Face Hub, read as its Python library reads them. */
import { UsageError } from '../core/index.ts';
import { joinPath } from './files.ts';

export const HUB_ENDPOINT = 'https://huggingface.co';

export interface HubSettings {
  /** Folder of the cache: `models--org--name` folders stand in it. */
  readonly cacheDir: string;
  /** Server, without a slash at the end. */
  readonly endpoint: string;
  /** Whether to use the cache only. */
  readonly offline: boolean;
  /** Access token, for private and gated models. */
  readonly token: string | null;
}

const isOn = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? '');

/**
 * Settings from environment variables: HF_HUB_CACHE (or HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub,
 * ~/.cache/huggingface/hub), HF_ENDPOINT, HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE), HF_TOKEN.
 * @param home the user's folder
 * @throws UsageError if HF_ENDPOINT is not an http(s) address
 */
export function hubSettings(env: Readonly<Record<string, string | undefined>>, home: string): HubSettings {
  const expand = (path: string) => path.replace(/^~(?=$|[/\\])/, () => home);
  const hfHome = env.HF_HOME || joinPath(env.XDG_CACHE_HOME || joinPath(home, '.cache'), 'huggingface');
  const cacheDir = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || joinPath(hfHome, 'hub');
  const endpoint = (env.HF_ENDPOINT || HUB_ENDPOINT).replace(/\/+$/, '');
  if (!/^https?:\/\/[^/]/.test(endpoint)) {
    throw new UsageError(`HF_ENDPOINT: ${endpoint} is not an http(s) address; use one such as ${HUB_ENDPOINT}`);
  }
  const token = env.HF_TOKEN?.trim() || null;
  return {
    cacheDir: expand(cacheDir),
    endpoint,
    offline: isOn(env.HF_HUB_OFFLINE) || isOn(env.TRANSFORMERS_OFFLINE),
    token,
  };
}
