/**
 * Writes docs/settings.md, the page of all settings of tuning, from their table: `node --import tsx scripts/settings-page.ts`.
 * A test compares the page with the table.
 */
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  fileNames,
  OPTIMIZERS,
  type OptimizerName,
  type OptimizerSettings,
  type Setting,
  takesOption,
} from '../src/train/index.ts';
import { CONFIG_SETTINGS, PLACE_SETTINGS } from '../src/tune/index.ts';

export const SETTINGS_PAGE = fileURLToPath(new URL('../docs/settings.md', import.meta.url));

/** Defaults of a setting that optimisers take, one for each of them: `0.01 (adamw), 0.1 (lion)`. */
function optimizerDefaults(name: string, { fills }: Setting): string {
  const option = (fills ?? name) as keyof OptimizerSettings;
  const found = Object.entries(OPTIMIZERS).flatMap(([optimizer, { defaults }]) => {
    const value = (defaults as Partial<OptimizerSettings>)[option];
    if (value === undefined) return [];
    return [`${Array.isArray(value) ? value[name.endsWith('2') ? 1 : 0] : value} (${optimizer})`];
  });
  return found.join(', ');
}

const defaultOf = (name: string, setting: Setting): string =>
  setting.defaultText ?? (setting.default === undefined ? optimizerDefaults(name, setting) : String(setting.default));

const code = (text: string): string => `\`${text.replaceAll('|', '\\|')}\``;

function rowOf(name: string, setting: Setting): string {
  const { key, flag, about, kind } = setting;
  const choices = kind.flag.type === 'choice' ? `: ${kind.flag.choices.join(', ')}` : '';
  const others = fileNames(setting).filter((other) => other !== key);
  const option = name in PLACE_SETTINGS ? '' : code(name);
  const cells = [code(key), option, code(flag), defaultOf(name, setting) || 'none', `${about}${choices}`];
  return `| ${[...cells, others.map(code).join(', ')].join(' | ')} |`;
}

/** The page as Markdown. */
export function settingsPage(): string {
  const rows: [string, Setting][] = Object.entries(CONFIG_SETTINGS);
  const free = rows.filter(([, { isFree }]) => isFree).map(([, { key }]) => code(key));
  const optimizers = Object.entries(OPTIMIZERS).map(([name, { title, rateShare }]) => {
    const others = rows.filter(([row, { fills }]) => !takesOption(name as OptimizerName, fills ?? row));
    const without = others.length > 0 ? others.map(([, { key }]) => code(key)).join(', ') : 'nothing';
    return `| ${code(name)} | ${title} | ${rateShare} | ${without} |`;
  });
  return `# Settings of tuning

These are the settings of \`krait tune\`, of the file that its \`-c\` names, and of \`Krait.tune\`. The table in \`src/tune/settings.ts\`
holds them; \`node --import tsx scripts/settings-page.ts\` writes this page from it. A file may use the other names too, with \`-\` for
\`_\`. Flags override the file. In a recipe of \`krait pretrain\` the part \`training\` has the same settings, without those of folders, LoRA, prompts
and evaluations.

| in a file | in code | flag | default | what it is | other names in a file |
|---|---|---|---|---|---|
${rows.map(([name, setting]) => rowOf(name, setting)).join('\n')}

A resumed run may change ${free.join(', ')}. With any other change it is a different run and is refused.
\`mask_prompt\` is the opposite of \`trainOnPrompt\` and \`--train-on-prompt\`. Its default is true.

| optimizer | | its default learning rate, as a share of AdamW's | does not take |
|---|---|---|---|
${optimizers.join('\n')}
`;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  writeFileSync(SETTINGS_PAGE, settingsPage());
}
