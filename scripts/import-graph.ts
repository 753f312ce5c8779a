/**
 * Reads what TypeScript files import, with the compiler's own parser: specifier, line, and whether the import
 * is of values, of types alone, or lazy. Knows nothing of layers; `check-layers.ts` judges.
 *
 * The compiler runs over a made-up project without libraries and without resolution, so it only parses.
 */
import { readFileSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { type Node, type SourceFile, SyntaxKind } from 'typescript/unstable/ast';
import {
  isCallExpression,
  isExportDeclaration,
  isExternalModuleReference,
  isIdentifier,
  isImportDeclaration,
  isImportEqualsDeclaration,
  isImportTypeNode,
  isLiteralTypeNode,
  isPropertyAccessExpression,
  isStringLiteral,
} from 'typescript/unstable/ast/is';
import { API } from 'typescript/unstable/sync';

/** `value` runs the other module first, `type` vanishes when compiled, `dynamic` is an `import()` that runs later. */
export type ImportKind = 'value' | 'type' | 'dynamic';

export interface Import {
  readonly specifier: string;
  /** Counted from 1. */
  readonly line: number;
  readonly kind: ImportKind;
}

/** A name that is used but declared nowhere in its file. `name` is `object.property` where that was asked for. */
export interface GlobalUse {
  readonly name: string;
  readonly line: number;
}

export interface Module {
  /** Relative to the root, with forward slashes. */
  readonly path: string;
  readonly imports: readonly Import[];
  readonly globals: readonly GlobalUse[];
}

/**
 * Parses `files` (relative to `root`). `isGlobal` says which undeclared names to report: it is asked for
 * `name` and for `name.property`, and only of files whose text matches `globalHint`.
 */
export function readModules(
  root: string,
  files: readonly string[],
  isGlobal: (name: string) => boolean,
  globalHint: RegExp,
): Module[] {
  const config = join(resolve(root), 'tsconfig.import-graph.json');
  const absolute = files.map((file) => join(resolve(root), file));
  const text = JSON.stringify({
    compilerOptions: {
      noLib: true,
      noResolve: true,
      types: [],
      noEmit: true,
      module: 'esnext',
      moduleResolution: 'bundler',
    },
    files: absolute,
  });
  const api = new API({
    cwd: resolve(root),
    fs: {
      readFile: (path) => (path === config ? text : undefined),
      fileExists: (path) => (path === config ? true : undefined),
    },
  });
  try {
    const project = api.updateSnapshot({ openProjects: [config] }).getProjects()[0];
    return absolute.map((file) => {
      const source = project.program.getSourceFile(file);
      if (!source) throw new Error(`${file}: the TypeScript parser did not return this file`);
      const code = readFileSync(file, 'utf8');
      return {
        path: relative(root, file).split(sep).join('/'),
        imports: readImports(source, code),
        globals: globalHint.test(code) ? readGlobals(source, isGlobal) : [],
      };
    });
  } finally {
    api.close();
  }
}

function readImports(source: SourceFile, code: string): Import[] {
  const imports: Import[] = [];
  const add = (node: Node, specifier: Node | undefined, kind: ImportKind) => {
    if (!specifier || !isStringLiteral(specifier)) return;
    const line = source.getLineAndCharacterOfPosition(specifier.pos).line + 1;
    imports.push({ specifier: specifier.text, line: Math.max(line, startLine(source, node)), kind });
  };
  for (const node of source.statements) {
    if (isImportDeclaration(node)) {
      const isType = node.importClause?.phaseModifier === SyntaxKind.TypeKeyword;
      add(node, node.moduleSpecifier, isType ? 'type' : 'value');
    } else if (isExportDeclaration(node)) {
      add(node, node.moduleSpecifier, node.isTypeOnly ? 'type' : 'value');
    } else if (isImportEqualsDeclaration(node) && isExternalModuleReference(node.moduleReference)) {
      add(node, node.moduleReference.expression, node.isTypeOnly ? 'type' : 'value');
    }
  }
  const nested = (node: Node): void => {
    if (isCallExpression(node)) {
      const isDynamic = node.expression.kind === SyntaxKind.ImportKeyword;
      const isRequire = isIdentifier(node.expression) && node.expression.text === 'require';
      if (isDynamic || isRequire) add(node, node.arguments[0], isDynamic ? 'dynamic' : 'value');
    } else if (isImportTypeNode(node) && isLiteralTypeNode(node.argument)) {
      add(node, node.argument.literal, 'type');
    }
    node.forEachChild(nested);
  };
  if (/\b(import|require)\s*\(/.test(code)) nested(source);
  return imports.sort((a, b) => a.line - b.line);
}

const startLine = (source: SourceFile, node: Node) =>
  source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;

/** Undeclared names of one file, the first use of each. Scopes are not told apart: a name declared anywhere is declared. */
function readGlobals(source: SourceFile, isGlobal: (name: string) => boolean): GlobalUse[] {
  const declared = new Set<string>();
  const used = new Map<string, number>();
  const visit = (node: Node): void => {
    if (isIdentifier(node) && !isPropertyName(node)) {
      const parent = node.parent as Node & { name?: Node };
      const isDeclared = parent.name === node && parent.kind !== SyntaxKind.ShorthandPropertyAssignment;
      if (isDeclared) declared.add(node.text);
      else if (isGlobal(node.text) && !used.has(node.text)) used.set(node.text, startLine(source, node));
    } else if (isPropertyAccessExpression(node) && isIdentifier(node.expression)) {
      const name = `${node.expression.text}.${node.name.text}`;
      if (isGlobal(name) && !used.has(name)) used.set(name, startLine(source, node));
    }
    node.forEachChild(visit);
  };
  visit(source);
  return [...used]
    .filter(([name]) => !declared.has(name.split('.')[0]))
    .map(([name, line]) => ({ name, line }))
    .sort((a, b) => a.line - b.line);
}

/** `window` in `x.window`, `{ window: 1 }`, or a member of a class or interface: a name, not a reference. */
function isPropertyName(node: Node): boolean {
  const parent = node.parent as Node & { name?: Node };
  if (parent.name !== node) return false;
  return (
    parent.kind === SyntaxKind.PropertyAccessExpression ||
    parent.kind === SyntaxKind.PropertyAssignment ||
    parent.kind === SyntaxKind.PropertySignature ||
    parent.kind === SyntaxKind.PropertyDeclaration ||
    parent.kind === SyntaxKind.MethodSignature ||
    parent.kind === SyntaxKind.MethodDeclaration ||
    parent.kind === SyntaxKind.GetAccessor ||
    parent.kind === SyntaxKind.SetAccessor ||
    parent.kind === SyntaxKind.EnumMember
  );
}
